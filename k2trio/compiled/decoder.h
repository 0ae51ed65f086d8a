/* Frames to events. */
#ifndef K2TRIO_DECODER_H
#define K2TRIO_DECODER_H

#include "layouts.h"
#include "levels.h"

enum { DATA, STREAM, VENUE, RECEIVED, FRAME, ORIGIN, EVENT_FIELDS };

typedef struct {
    PyObject *name, *symbol, *interval;  /* the last two are None where the stream has none */
    const char *key, *symbol_text, *interval_text;
    Py_ssize_t key_size, symbol_size, interval_size;
    const Layout *layout;
    /* What a batch has of it; valid while `batch` is that of the decoder. */
    uint64_t batch;
    Py_ssize_t messages;
    int64_t first, after, time, begin, due;
    int in_order;
} Stream;

typedef struct {
    PyObject_HEAD
    PyObject *venue, *origin;
    Shape event, level;
    PyTypeObject *levels_type, *run_type;
    Layout **layouts;
    Py_ssize_t layout_count;
    Stream *streams;
    Py_ssize_t stream_count;
    int32_t *table;  /* hash of a name → index of its stream, or -1 */
    size_t mask;
    Stream *latest;
    int32_t *touched;  /* streams of a batch, in order of appearance */
    Py_ssize_t touched_count;
    uint64_t batch;
    PyObject *recent;  /* the last integer that was made: times come again and again */
    int64_t recent_value;
    int busy;
} Decoder;

static Literal envelope_head, envelope_middle;

static inline uint64_t
hash_of(const char *at, Py_ssize_t size)
{
    uint64_t hash = 0xcbf29ce484222325u ^ (uint64_t)size, word;
    for (; size >= 8; at += 8, size -= 8) {
        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    word = 0;
    memcpy(&word, at, (size_t)size);
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ (hash >> 32);
}

static inline Stream *
stream_named(Decoder *self, const char *name, Py_ssize_t size)
{
    Stream *latest = self->latest;
    if (latest != NULL && latest->key_size == size
        && memcmp(latest->key, name, (size_t)size) == 0) {
        return latest;
    }
    if (self->table == NULL) {
        return NULL;
    }
    for (uint64_t hash = hash_of(name, size);; hash++) {
        int32_t index = self->table[hash & self->mask];
        if (index < 0) {
            return NULL;
        }
        Stream *stream = &self->streams[index];
        if (stream->key_size == size && memcmp(stream->key, name, (size_t)size) == 0) {
            return self->latest = stream;
        }
    }
}

static inline PyObject *
integer(Decoder *self, int64_t value)
{
    if (self->recent != NULL && self->recent_value == value) {
        return Py_NewRef(self->recent);
    }
    PyObject *made = PyLong_FromLongLong(value);
    if (made != NULL) {
        Py_XSETREF(self->recent, Py_NewRef(made));
        self->recent_value = value;
    }
    return made;
}

/* The stream's own text, in quotes; shared by all messages. */
static inline PyObject *
own(Cursor *cursor, PyObject *text, const char *bytes, Py_ssize_t size)
{
    if (bytes == NULL || left(cursor) < size + 2 || cursor->at[0] != '"'
        || memcmp(cursor->at + 1, bytes, (size_t)size) != 0 || cursor->at[size + 1] != '"') {
        return NULL;
    }
    cursor->at += size + 2;
    return Py_NewRef(text);
}

/* The value of a step; NULL without an exception where it is not what the step wants. */
static inline PyObject *
value_of(Decoder *self, const Stream *stream, const Step *step, PyObject *frame, Cursor *cursor,
         int64_t *number)
{
    const char *text;
    Py_ssize_t size;
    switch (step->what) {
    case COUNT:
    case INTEGER:
        if (!skip_integer(cursor, step->what == INTEGER, number)) {
            return NULL;
        }
        return integer(self, *number);
    case TEXT:
        return skip_string(cursor, &text, &size) ? ascii(text, size) : NULL;
    case TRUTH:
    case IGNORED:
        if (skip_bytes(cursor, "true", 4)) {
            return Py_NewRef(Py_True);
        }
        return skip_bytes(cursor, "false", 5) ? Py_NewRef(Py_False) : NULL;
    case UNUSED:
        return skip_string(cursor, &text, &size) ? Py_NewRef(Py_None) : NULL;
    case LEVELS:
        text = cursor->at;
        if (!skip_levels(cursor, &size)) {
            return NULL;
        }
        return levels_new(self->levels_type, frame, text, cursor->at - text, size, &self->level);
    case SYMBOL:
        return own(cursor, stream->symbol, stream->symbol_text, stream->symbol_size);
    case INTERVAL:
        return own(cursor, stream->interval, stream->interval_text, stream->interval_size);
    default:
        return NULL;
    }
}

/* The payload of a frame; NULL without an exception where its layout is another one. */
static PyObject *
payload_of(Decoder *self, const Stream *stream, PyObject *frame, Cursor *cursor, int64_t *numbers)
{
    const Layout *layout = stream->layout;
    PyObject *payload = struct_new(layout->type), *into = payload;
    if (payload == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < layout->steps; i++) {
        const Step *step = &layout->step[i];
        if (!skip(cursor, &step->literal)) {
            goto no;
        }
        PyObject *value;
        switch (step->what) {
        case END:
            if (left(cursor) != 0) {
                goto no;
            }
            return payload;
        case OPEN:
            value = struct_new(layout->inner);
            if (value == NULL) {
                goto no;
            }
            *field_at(payload, step->offset) = value;
            into = value;
            break;
        case CLOSE:
            into = payload;
            break;
        default:
            value = value_of(self, stream, step, frame, cursor, &numbers[i]);
            if (value == NULL) {
                goto no;
            }
            if (step->what == IGNORED || step->what == UNUSED) {
                Py_DECREF(value);
            }
            else {
                *field_at(into, step->offset) = value;
            }
        }
    }
no:
    Py_DECREF(payload);
    return NULL;
}

/* Whether the message follows the one before it in the batch is seen where both are at hand. */
static inline void
note(Decoder *self, Stream *stream, const int64_t *numbers)
{
    const Layout *layout = stream->layout;
    if (layout->rule == NO_RULE) {
        return;
    }
    /* What a link names is the last key of the message before. */
    int64_t first = numbers[layout->first] + (layout->rule == CHAINED);
    int64_t last = numbers[layout->last];
    if (stream->batch != self->batch) {
        stream->batch = self->batch;
        stream->messages = 0;
        stream->in_order = 1;
        stream->first = first;
        stream->begin = layout->begin < 0 ? 0 : numbers[layout->begin];
        self->touched[self->touched_count++] = (int32_t)(stream - self->streams);
    }
    else if (layout->rule == GROWING ? first < stream->after : first != stream->after) {
        stream->in_order = 0;
    }
    else if (layout->begin >= 0 && numbers[layout->begin] != stream->due) {
        stream->in_order = 0;
    }
    if (last < first) {
        stream->in_order = 0;
    }
    stream->messages++;
    stream->after = last + 1;
    stream->time = layout->time < 0 ? -1 : numbers[layout->time];
    stream->due = layout->end < 0 ? 0 : numbers[layout->end] + 1;
}

/* The event of a frame; NULL without an exception where it is for the pure path. */
static PyObject *
event_of(Decoder *self, PyObject *frame, PyObject *received)
{
    Cursor cursor = {PyBytes_AS_STRING(frame), PyBytes_AS_STRING(frame) + PyBytes_GET_SIZE(frame)};
    if (!skip(&cursor, &envelope_head)) {
        return NULL;
    }
    const char *quote = memchr(cursor.at, '"', (size_t)left(&cursor));
    if (quote == NULL) {
        return NULL;
    }
    Stream *stream = stream_named(self, cursor.at, quote - cursor.at);
    if (stream == NULL) {
        return NULL;
    }
    cursor.at = quote;
    if (!skip(&cursor, &envelope_middle)) {
        return NULL;
    }
    int64_t numbers[MAX_STEPS];
    PyObject *payload = payload_of(self, stream, frame, &cursor, numbers);
    if (payload == NULL) {
        return NULL;
    }
    PyObject *event = struct_new(self->event.type);
    if (event == NULL) {
        Py_DECREF(payload);
        return NULL;
    }
    const Py_ssize_t *offset = self->event.offset;
    *field_at(event, offset[DATA]) = payload;
    *field_at(event, offset[STREAM]) = Py_NewRef(stream->name);
    *field_at(event, offset[VENUE]) = Py_NewRef(self->venue);
    *field_at(event, offset[RECEIVED]) = Py_NewRef(received);
    *field_at(event, offset[FRAME]) = Py_NewRef(frame);
    *field_at(event, offset[ORIGIN]) = Py_NewRef(self->origin);
    note(self, stream, numbers);
    return event;
}

static int
set_item(PyObject *run, Py_ssize_t at, PyObject *value)
{
    if (value == NULL) {
        return -1;
    }
    PyStructSequence_SetItem(run, at, value);
    return 0;
}

static PyObject *
run_of(Decoder *self, const Stream *stream)
{
    PyObject *run = PyStructSequence_New(self->run_type);
    if (run == NULL) {
        return NULL;
    }
    int timed = stream->layout->time >= 0;
    if (set_item(run, 0, Py_NewRef(stream->name)) < 0
        || set_item(run, 1, PyLong_FromSsize_t(stream->messages)) < 0
        || set_item(run, 2, PyBool_FromLong(stream->in_order)) < 0
        || set_item(run, 3, PyLong_FromLongLong(stream->first)) < 0
        || set_item(run, 4, PyLong_FromLongLong(stream->after)) < 0
        || set_item(run, 5, timed ? PyLong_FromLongLong(stream->time) : Py_NewRef(Py_None)) < 0
        || set_item(run, 6, PyLong_FromLongLong(stream->begin)) < 0
        || set_item(run, 7, PyLong_FromLongLong(stream->due)) < 0) {
        Py_DECREF(run);
        return NULL;
    }
    return run;
}

/* Where a batch has few messages of each stream, to look at each costs less than to tell. */
static PyObject *
runs_of(Decoder *self, Py_ssize_t messages)
{
    Py_ssize_t told = self->touched_count * RUN_MESSAGES <= messages ? self->touched_count : 0;
    PyObject *runs = PyList_New(told);
    for (Py_ssize_t i = 0; runs != NULL && i < told; i++) {
        PyObject *run = run_of(self, &self->streams[self->touched[i]]);
        if (run == NULL) {
            Py_CLEAR(runs);
        }
        else {
            PyList_SET_ITEM(runs, i, run);
        }
    }
    return runs;
}

static PyObject *
decode(Decoder *self, PyObject *payloads, PyObject *received)
{
    Py_ssize_t count = PyList_GET_SIZE(payloads);
    PyObject *items = PyList_New(count), *odd = PyList_New(0);
    if (items == NULL || odd == NULL) {
        goto failed;
    }
    self->batch++;
    self->touched_count = 0;
    for (Py_ssize_t i = 0; i < count; i++) {
        /* Making objects may run code of somebody's finalizer. */
        PyObject *frame = i < PyList_GET_SIZE(payloads) ? PyList_GET_ITEM(payloads, i) : NULL;
        if (frame == NULL || !PyBytes_Check(frame)) {
            PyErr_SetString(PyExc_TypeError, "payloads must be a list of bytes");
            goto failed;
        }
        Py_INCREF(frame);
        PyObject *event = event_of(self, frame, received);
        if (event != NULL) {
            Py_DECREF(frame);
            PyList_SET_ITEM(items, i, event);
            continue;
        }
        PyList_SET_ITEM(items, i, frame);
        if (PyErr_Occurred()) {
            goto failed;
        }
        PyObject *index = PyLong_FromSsize_t(i);
        if (index == NULL || PyList_Append(odd, index) < 0) {
            Py_XDECREF(index);
            goto failed;
        }
        Py_DECREF(index);
    }
    PyObject *runs = runs_of(self, count);
    if (runs != NULL) {
        return Py_BuildValue("(NNN)", items, odd, runs);
    }
failed:
    Py_XDECREF(items);
    Py_XDECREF(odd);
    return NULL;
}

static PyObject *
decoder_decode(Decoder *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyList_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "decode(payloads: list[bytes], received: float)");
        return NULL;
    }
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this decoder is at work");
        return NULL;
    }
    self->busy = 1;
    PyObject *result = decode(self, args[0], args[1]);
    self->busy = 0;
    return result;
}

static void
forget_streams(Decoder *self)
{
    for (Py_ssize_t i = 0; i < self->stream_count; i++) {
        Py_DECREF(self->streams[i].name);
        Py_DECREF(self->streams[i].symbol);
        Py_DECREF(self->streams[i].interval);
    }
    PyMem_Free(self->streams);
    PyMem_Free(self->table);
    PyMem_Free(self->touched);
    self->streams = NULL;
    self->table = NULL;
    self->touched = NULL;
    self->latest = NULL;
    self->stream_count = self->touched_count = 0;
}

/* The UTF-8 of a str, which lives as long as it does; NULL and no size for None. */
static int
text_of(PyObject *text, const char **bytes, Py_ssize_t *size)
{
    *bytes = NULL;
    *size = 0;
    if (text == Py_None) {
        return 0;
    }
    *bytes = PyUnicode_AsUTF8AndSize(text, size);
    return *bytes == NULL ? -1 : 0;
}

static int
stream_init(Decoder *self, Stream *stream, PyObject *told)
{
    PyObject *name, *symbol, *interval;
    Py_ssize_t layout;
    if (!PyTuple_Check(told)) {
        PyErr_SetString(PyExc_TypeError, "streams are tuples");
        return -1;
    }
    if (!PyArg_ParseTuple(told, "UnOO", &name, &layout, &symbol, &interval)) {
        return -1;
    }
    if (layout < 0 || layout >= self->layout_count) {
        PyErr_SetString(PyExc_ValueError, "a stream of no layout");
        return -1;
    }
    memset(stream, 0, sizeof(Stream));
    if (text_of(name, &stream->key, &stream->key_size) < 0
        || text_of(symbol, &stream->symbol_text, &stream->symbol_size) < 0
        || text_of(interval, &stream->interval_text, &stream->interval_size) < 0) {
        return -1;
    }
    stream->layout = self->layouts[layout];
    stream->name = Py_NewRef(name);
    stream->symbol = Py_NewRef(symbol);
    stream->interval = Py_NewRef(interval);
    return 0;
}

/* Know the streams of a tuple; where that fails, the caller forgets them. */
static int
streams_init(Decoder *self, PyObject *all)
{
    forget_streams(self);
    size_t count = (size_t)PyTuple_GET_SIZE(all), places = 16;
    while (places < 4 * count) {  /* at most a quarter is taken, so a search ends */
        places *= 2;
    }
    self->streams = PyMem_Calloc(count ? count : 1, sizeof(Stream));
    self->touched = PyMem_Calloc(count ? count : 1, sizeof(int32_t));
    self->table = PyMem_Calloc(places, sizeof(int32_t));
    if (self->streams == NULL || self->touched == NULL || self->table == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(self->table, 0xff, places * sizeof(int32_t));
    self->mask = places - 1;
    for (size_t i = 0; i < count; i++) {
        Stream *stream = &self->streams[i];
        if (stream_init(self, stream, PyTuple_GET_ITEM(all, (Py_ssize_t)i)) < 0) {
            return -1;
        }
        self->stream_count++;
        uint64_t hash = hash_of(stream->key, stream->key_size);
        while (self->table[hash & self->mask] >= 0) {
            hash++;
        }
        self->table[hash & self->mask] = (int32_t)i;
    }
    return 0;
}

static PyObject *
decoder_expect(Decoder *self, PyObject *told)
{
    if (!PyList_Check(told) || PyList_GET_SIZE(told) > MAX_STREAMS) {
        PyErr_Format(PyExc_TypeError, "a list of up to %d streams is wanted", MAX_STREAMS);
        return NULL;
    }
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "this decoder is at work");
        return NULL;
    }
    PyObject *all = PyList_AsTuple(told);  /* nobody can change it meanwhile */
    if (all == NULL) {
        return NULL;
    }
    self->busy = 1;
    int failed = streams_init(self, all) < 0;
    if (failed) {
        forget_streams(self);
    }
    self->busy = 0;
    Py_DECREF(all);
    if (failed) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static void
decoder_dealloc(Decoder *self)
{
    PyTypeObject *type = Py_TYPE(self);
    forget_streams(self);
    for (Py_ssize_t i = 0; i < self->layout_count; i++) {
        layout_free(self->layouts[i]);
    }
    PyMem_Free(self->layouts);
    shape_clear(&self->event);
    shape_clear(&self->level);
    Py_XDECREF(self->venue);
    Py_XDECREF(self->origin);
    Py_XDECREF(self->levels_type);
    Py_XDECREF(self->run_type);
    Py_XDECREF(self->recent);
    PyObject_Free(self);
    Py_DECREF(type);
}

static PyObject *
decoder_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"event", "event_fields", "level", "level_fields", "layouts", "venue",
                            "origin", NULL};
    PyObject *event, *event_fields, *level, *level_fields, *layouts, *venue, *origin;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOOO!UU", names, &event, &event_fields, &level,
                                     &level_fields, &PyTuple_Type, &layouts, &venue, &origin)) {
        return NULL;
    }
    PyObject *module = PyType_GetModuleByDef(type, &module_def);
    if (module == NULL) {
        return NULL;
    }
    State *state = PyModule_GetState(module);
    Decoder *self = PyObject_New(Decoder, type);
    if (self == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof(Decoder) - sizeof(PyObject));
    self->venue = Py_NewRef(venue);
    self->origin = Py_NewRef(origin);
    self->levels_type = (PyTypeObject *)Py_NewRef(state->levels_type);
    self->run_type = (PyTypeObject *)Py_NewRef(state->run_type);
    if (shape_init(&self->event, event, event_fields) < 0
        || shape_init(&self->level, level, level_fields) < 0) {
        goto failed;
    }
    if (self->event.size != EVENT_FIELDS || self->level.size != 2) {
        PyErr_SetString(PyExc_ValueError, "events have six fields, and levels two");
        goto failed;
    }
    self->layouts = PyMem_Calloc((size_t)PyTuple_GET_SIZE(layouts) + 1, sizeof(Layout *));
    if (self->layouts == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(layouts); i++) {
        if (!PyTuple_Check(PyTuple_GET_ITEM(layouts, i))) {
            PyErr_SetString(PyExc_TypeError, "layouts are tuples");
            goto failed;
        }
        self->layouts[i] = layout_new(PyTuple_GET_ITEM(layouts, i));
        if (self->layouts[i] == NULL) {
            goto failed;
        }
        self->layout_count++;
    }
    return (PyObject *)self;
failed:
    Py_DECREF(self);
    return NULL;
}

static PyMethodDef decoder_methods[] = {
    {"decode", (PyCFunction)(void (*)(void))decoder_decode, METH_FASTCALL,
     "Frames and a time → events, or the frame where it is for the pure path; where those are; "
     "and runs."},
    {"expect", (PyCFunction)decoder_expect, METH_O,
     "Know these streams, and no others: name, layout, symbol and interval of each."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot decoder_slots[] = {
    {Py_tp_doc, "Makes events of combined frames that have the exchange's own layout."},
    {Py_tp_new, decoder_new},
    {Py_tp_dealloc, decoder_dealloc},
    {Py_tp_methods, decoder_methods},
    {0, NULL},
};

static PyType_Spec decoder_spec = {
    .name = "k2trio.compiled._core.Decoder",
    .basicsize = sizeof(Decoder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = decoder_slots,
};

#endif
