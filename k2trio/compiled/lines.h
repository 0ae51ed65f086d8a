/* Items to JSON lines. */
#ifndef K2TRIO_LINES_H
#define K2TRIO_LINES_H

#include "decoder.h"

/* Makes the lines of events: what stands before their payload is asked for, and remembered as long
   as messages have the same of it. */
typedef struct {
    PyObject_HEAD
    Shape event;
    PyObject *head, *middle, *other;  /* callables, see the methods */
    PyObject *heads, *venue;          /* stream → what `head` made for that venue; and which */
} Lines;

typedef struct {
    char *bytes;
    Py_ssize_t size, room;
} Buffer;

static int
put(Buffer *buffer, const char *bytes, Py_ssize_t size)
{
    if (buffer->bytes == NULL || buffer->room - buffer->size < size) {
        if (size > PY_SSIZE_T_MAX / 8 || buffer->size > PY_SSIZE_T_MAX / 8) {
            PyErr_NoMemory();
            return -1;
        }
        Py_ssize_t room = 2 * (buffer->size + size) + 4096;
        char *moved = PyMem_Realloc(buffer->bytes, (size_t)room);
        if (moved == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        buffer->bytes = moved;
        buffer->room = room;
    }
    memcpy(buffer->bytes + buffer->size, bytes, (size_t)size);
    buffer->size += size;
    return 0;
}

static int
put_object(Buffer *buffer, PyObject *bytes)
{
    return put(buffer, PyBytes_AS_STRING(bytes), PyBytes_GET_SIZE(bytes));
}

/* Bytes that a callable makes of one or two arguments. */
static PyObject *
bytes_of(PyObject *callable, PyObject *first, PyObject *second)
{
    PyObject *made = PyObject_CallFunctionObjArgs(callable, first, second, NULL);
    if (made != NULL && !PyBytes_Check(made)) {
        PyErr_SetString(PyExc_TypeError, "bytes are wanted");
        Py_CLEAR(made);
    }
    return made;
}

/* Whether the object that begins there ends with the last byte; of valid JSON. Where that is its
   first closing brace, it does; else braces are counted, as far as no escape is in the way. */
static int
is_object(const char *at, const char *end)
{
    if (at >= end || *at != '{') {
        return 0;
    }
    if (memchr(at, '}', (size_t)(end - at)) == end - 1) {
        return 1;
    }
    int open = 0, inside = 0;
    for (; at < end; at++) {
        if (*at == '\\') {
            return 0;
        }
        if (*at == '"') {
            inside = !inside;
        }
        else if (!inside && *at == '{') {
            open++;
        }
        else if (!inside && *at == '}' && --open == 0) {
            return at == end - 1;
        }
    }
    return 0;
}

/* Where the payload of a frame stands, if that can be seen at once. The frame is a valid combined
   one, of that stream. */
static int
payload_in(PyObject *frame, PyObject *stream, Cursor *payload)
{
    Cursor cursor = {PyBytes_AS_STRING(frame), PyBytes_AS_STRING(frame) + PyBytes_GET_SIZE(frame)};
    Py_ssize_t size;
    const char *name = PyUnicode_AsUTF8AndSize(stream, &size);
    if (name == NULL) {
        PyErr_Clear();
        return 0;
    }
    if (!skip(&cursor, &envelope_head) || !skip_bytes(&cursor, name, size)
        || !skip(&cursor, &envelope_middle) || left(&cursor) < 3 || cursor.end[-1] != '}'
        || cursor.end[-2] != '}') {
        return 0;
    }
    cursor.end--;
    size_t size_of = (size_t)left(&cursor);
    if (!is_object(cursor.at, cursor.end) || memchr(cursor.at, '\n', size_of) != NULL
        || memchr(cursor.at, '\r', size_of) != NULL) {
        return 0;  /* a line may hold no line breaks: those are replaced elsewhere */
    }
    *payload = cursor;
    return 1;
}

/* What the last message had; owned. */
typedef struct {
    PyObject *received, *origin, *middle;
} Remembered;

static void
remembered_clear(Remembered *last)
{
    Py_CLEAR(last->received);
    Py_CLEAR(last->origin);
    Py_CLEAR(last->middle);
}

/* How the lines of a stream begin; owned. */
static PyObject *
head_of(Lines *self, PyObject *venue, PyObject *stream)
{
    if (venue != self->venue) {
        Py_XSETREF(self->venue, Py_NewRef(venue));
        PyDict_Clear(self->heads);
    }
    PyObject *head = PyDict_GetItemWithError(self->heads, stream);
    if (head != NULL || PyErr_Occurred()) {
        return Py_XNewRef(head);
    }
    head = bytes_of(self->head, venue, stream);
    if (head != NULL && PyDict_GET_SIZE(self->heads) < MAX_HEADS && venue == self->venue
        && PyDict_SetItem(self->heads, stream, head) < 0) {
        Py_CLEAR(head);
    }
    return head;
}

/* The line of an event with these fields, which the caller owns; 0 where it is for the pure path. */
static int
put_line(Lines *self, Buffer *buffer, PyObject *const *fields, Remembered *last)
{
    PyObject *stream = fields[STREAM], *venue = fields[VENUE], *frame = fields[FRAME];
    PyObject *received = fields[RECEIVED], *origin = fields[ORIGIN];
    if (received != last->received || origin != last->origin) {
        PyObject *middle = bytes_of(self->middle, received, origin);
        if (middle == NULL) {
            return -1;
        }
        Py_XSETREF(last->middle, middle);
        Py_XSETREF(last->received, Py_NewRef(received));
        Py_XSETREF(last->origin, Py_NewRef(origin));
    }
    Cursor payload;
    if (!payload_in(frame, stream, &payload)) {
        return 0;
    }
    PyObject *head = head_of(self, venue, stream);
    if (head == NULL) {
        return -1;
    }
    int done = put_object(buffer, head) < 0 || put_object(buffer, last->middle) < 0
               || put(buffer, payload.at, left(&payload)) < 0 || put(buffer, "}\n", 2) < 0;
    Py_DECREF(head);
    return done ? -1 : 1;
}

static int
put_event(Lines *self, Buffer *buffer, PyObject *event, Remembered *last)
{
    PyObject *fields[EVENT_FIELDS];
    for (int i = 0; i < EVENT_FIELDS; i++) {
        fields[i] = *field_at(event, self->event.offset[i]);
        if (fields[i] == NULL) {
            return 0;  /* the pure path may make something of it */
        }
    }
    if (!PyUnicode_CheckExact(fields[STREAM]) || !PyBytes_CheckExact(fields[FRAME])) {
        return 0;
    }
    for (int i = 0; i < EVENT_FIELDS; i++) {
        Py_INCREF(fields[i]);  /* code that runs meanwhile could take them from the event */
    }
    int done = put_line(self, buffer, fields, last);
    for (int i = 0; i < EVENT_FIELDS; i++) {
        Py_DECREF(fields[i]);
    }
    return done;
}

static int
put_item(Lines *self, Buffer *buffer, PyObject *item, Remembered *last)
{
    int done = 0;
    if (Py_IS_TYPE(item, self->event.type)) {
        done = put_event(self, buffer, item, last);
    }
    if (done == 0) {
        PyObject *line = bytes_of(self->other, item, NULL);
        done = line == NULL ? -1 : put_object(buffer, line);
        Py_XDECREF(line);
    }
    return done < 0 ? -1 : 0;
}

static PyObject *
lines_call(Lines *self, PyObject *args, PyObject *named)
{
    PyObject *items;
    if ((named != NULL && PyDict_GET_SIZE(named) != 0) || !PyArg_ParseTuple(args, "O", &items)) {
        PyErr_SetString(PyExc_TypeError, "items are wanted, and nothing else");
        return NULL;
    }
    PyObject *all = PySequence_Tuple(items);  /* nobody can change it meanwhile */
    if (all == NULL) {
        return NULL;
    }
    Buffer buffer = {NULL, 0, 0};
    Remembered last = {NULL, NULL, NULL};
    PyObject *lines = NULL;
    Py_ssize_t at = 0;
    for (; at < PyTuple_GET_SIZE(all); at++) {
        if (put_item(self, &buffer, PyTuple_GET_ITEM(all, at), &last) < 0) {
            break;
        }
    }
    if (at == PyTuple_GET_SIZE(all)) {
        lines = PyBytes_FromStringAndSize(buffer.bytes, buffer.size);
    }
    PyMem_Free(buffer.bytes);
    remembered_clear(&last);
    Py_DECREF(all);
    return lines;
}

static void
lines_dealloc(Lines *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    shape_clear(&self->event);
    Py_XDECREF(self->head);
    Py_XDECREF(self->middle);
    Py_XDECREF(self->other);
    Py_XDECREF(self->heads);
    Py_XDECREF(self->venue);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static int
lines_traverse(Lines *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->event.type);
    Py_VISIT(self->head);
    Py_VISIT(self->middle);
    Py_VISIT(self->other);
    Py_VISIT(self->heads);
    return 0;
}

static PyObject *
lines_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"event", "event_fields", "head", "middle", "other", NULL};
    PyObject *event, *fields, *head, *middle, *other;
    if (!PyArg_ParseTupleAndKeywords(args, named, "OOOOO", names, &event, &fields, &head, &middle,
                                     &other)) {
        return NULL;
    }
    Lines *self = PyObject_GC_New(Lines, type);
    if (self == NULL) {
        return NULL;
    }
    memset((char *)self + sizeof(PyObject), 0, sizeof(Lines) - sizeof(PyObject));
    PyObject_GC_Track(self);
    self->head = Py_NewRef(head);
    self->middle = Py_NewRef(middle);
    self->other = Py_NewRef(other);
    self->heads = PyDict_New();
    if (self->heads == NULL || shape_init(&self->event, event, fields) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if (self->event.size != EVENT_FIELDS) {
        PyErr_SetString(PyExc_ValueError, "events have six fields");
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static PyType_Slot lines_slots[] = {
    {Py_tp_doc, "Makes the lines of items; what it cannot see through is made by `other`."},
    {Py_tp_new, lines_new},
    {Py_tp_dealloc, lines_dealloc},
    {Py_tp_traverse, lines_traverse},
    {Py_tp_call, lines_call},
    {0, NULL},
};

static PyType_Spec lines_spec = {
    .name = "k2trio.compiled._core.Lines",
    .basicsize = sizeof(Lines),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_HAVE_GC,
    .slots = lines_slots,
};

#endif
