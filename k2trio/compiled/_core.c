/* What the receive path does for every message, compiled.
 *
 * Optional: the pure path does the same, is the reference, and takes whatever is not taken here. So
 * nothing here has to be complete, but everything has to be right: what is taken gives the very
 * objects that the pure path would give, and what is unusual in any way is left untouched.
 *
 * These bytes come from the network. A cursor never moves beyond its end; whatever is read behind
 * it is compared with what is left first. No reference is borrowed across a call that could run
 * Python code, and the lists and bytes that are looked at are kept alive by the caller.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#ifdef Py_GIL_DISABLED
#error "a decoder is not made for threads that run at the same time"
#endif

#if PY_VERSION_HEX < 0x030C0000
#include <structmember.h>
#define Py_T_OBJECT_EX T_OBJECT_EX
#endif

#define MAX_FIELDS 32     /* of a payload */
#define MAX_STEPS 48      /* of a layout */
#define MAX_LITERAL 32    /* bytes of one */
#define MAX_DIGITS 18     /* of an integer; each of them fits into 64 bits */
#define MAX_STREAMS 1024  /* of a decoder */
#define RUN_MESSAGES 4    /* a stream, on the average of a batch, from which on runs are told */
#define MAX_HEADS 4096    /* that lines remember */

/* ---- what bytes look like ------------------------------------------------------------------ */

/* Printable ASCII that stands for itself in a JSON string. */
static unsigned char plain[256];

static void
plain_init(void)
{
    for (int byte = 0x20; byte < 0x7f; byte++) {
        plain[byte] = byte != '"' && byte != '\\';
    }
}

typedef struct {
    const char *at, *end;
} Cursor;

static inline Py_ssize_t
left(const Cursor *cursor)
{
    return cursor->end - cursor->at;
}

/* Bytes that have to stand somewhere, and masked words of them: two loads compare up to sixteen. */
typedef struct {
    Py_ssize_t size;
    uint64_t word[2], mask[2];
    char bytes[MAX_LITERAL];
} Literal;

static void
literal_init(Literal *literal, const char *bytes, Py_ssize_t size)
{
    unsigned char padded[16] = {0}, mask[16] = {0};
    Py_ssize_t head = size < 16 ? size : 16;
    memcpy(padded, bytes, (size_t)head);
    memset(mask, 0xff, (size_t)head);
    memcpy(literal->word, padded, 16);
    memcpy(literal->mask, mask, 16);
    memcpy(literal->bytes, bytes, (size_t)size);
    literal->size = size;
}

static inline int
skip(Cursor *cursor, const Literal *literal)
{
    Py_ssize_t size = literal->size;
    if (left(cursor) >= 16) {
        uint64_t word[2];
        memcpy(word, cursor->at, 16);
        if ((word[0] & literal->mask[0]) != literal->word[0]
            || (word[1] & literal->mask[1]) != literal->word[1]) {
            return 0;
        }
        if (size > 16
            && (left(cursor) < size
                || memcmp(cursor->at + 16, literal->bytes + 16, (size_t)size - 16) != 0)) {
            return 0;
        }
    }
    else if (left(cursor) < size || memcmp(cursor->at, literal->bytes, (size_t)size) != 0) {
        return 0;
    }
    cursor->at += size;
    return 1;
}

static inline int
skip_byte(Cursor *cursor, char byte)
{
    if (left(cursor) < 1 || *cursor->at != byte) {
        return 0;
    }
    cursor->at++;
    return 1;
}

static inline int
skip_bytes(Cursor *cursor, const char *bytes, Py_ssize_t size)
{
    if (left(cursor) < size || memcmp(cursor->at, bytes, (size_t)size) != 0) {
        return 0;
    }
    cursor->at += size;
    return 1;
}

/* An integer as JSON has it, of up to MAX_DIGITS; negative ones where they may be. */
static inline int
skip_integer(Cursor *cursor, int may_be_negative, int64_t *value)
{
    const char *at = cursor->at, *end = cursor->end;
    int negative = 0;
    if (may_be_negative && at < end && *at == '-') {
        negative = 1;
        at++;
    }
    const char *first = at;
    int64_t found = 0;
    while (at < end && (unsigned char)(*at - '0') < 10) {
        if (at - first == MAX_DIGITS) {
            return 0;
        }
        found = found * 10 + (*at++ - '0');
    }
    if (at == first || (*first == '0' && at - first > 1) || (negative && found == 0)) {
        return 0;
    }
    cursor->at = at;
    *value = negative ? -found : found;
    return 1;
}

/* A string of plain characters: where they begin, and how many they are. */
static inline int
skip_string(Cursor *cursor, const char **first, Py_ssize_t *size)
{
    const char *at = cursor->at, *end = cursor->end;
    if (at >= end || *at != '"') {
        return 0;
    }
    *first = ++at;
    while (at < end && plain[(unsigned char)*at]) {
        at++;
    }
    if (at >= end || *at != '"') {
        return 0;
    }
    *size = at - *first;
    cursor->at = at + 1;
    return 1;
}

static inline PyObject *
ascii(const char *first, Py_ssize_t size)
{
    PyObject *text = PyUnicode_New(size, 127);
    if (text != NULL && size > 0) {
        memcpy(PyUnicode_1BYTE_DATA(text), first, (size_t)size);
    }
    return text;
}

static inline int
is_ascii(const char *at, Py_ssize_t size)
{
    uint64_t high = 0, word;
    Py_ssize_t done = 0;
    for (; done + 8 <= size; done += 8) {
        memcpy(&word, at + done, 8);
        high |= word;
    }
    for (; done < size; done++) {
        high |= (unsigned char)at[done];
    }
    return (high & 0x8080808080808080u) == 0;
}

/* ---- structs of msgspec --------------------------------------------------------------------- */

/* A struct type that the garbage collector does not watch, and where its fields are in it. */
typedef struct {
    PyTypeObject *type;
    Py_ssize_t size;  /* fields */
    Py_ssize_t offset[MAX_FIELDS];
} Shape;

static void
shape_clear(Shape *shape)
{
    Py_CLEAR(shape->type);
}

static Py_ssize_t
offset_of(PyTypeObject *type, PyObject *name)
{
    PyObject *slot = PyObject_GetAttr((PyObject *)type, name);
    if (slot == NULL) {
        return -1;
    }
    Py_ssize_t offset = -1;
    if (Py_TYPE(slot) == &PyMemberDescr_Type
        && ((PyMemberDescrObject *)slot)->d_member->type == Py_T_OBJECT_EX) {
        offset = ((PyMemberDescrObject *)slot)->d_member->offset;
    }
    if (offset < (Py_ssize_t)sizeof(PyObject)
        || offset + (Py_ssize_t)sizeof(PyObject *) > type->tp_basicsize) {
        PyErr_Format(PyExc_TypeError, "%s.%U is no slot", type->tp_name, name);
        offset = -1;
    }
    Py_DECREF(slot);
    return offset;
}

static int
shape_init(Shape *shape, PyObject *type, PyObject *fields)
{
    if (!PyType_Check(type) || !PyTuple_Check(fields) || PyTuple_GET_SIZE(fields) > MAX_FIELDS) {
        PyErr_SetString(PyExc_TypeError, "a type and a tuple of its fields are wanted");
        return -1;
    }
    PyTypeObject *of = (PyTypeObject *)type;
    if (PyType_HasFeature(of, Py_TPFLAGS_HAVE_GC) || of->tp_itemsize != 0) {
        PyErr_Format(PyExc_TypeError, "%s is watched by the garbage collector", of->tp_name);
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(fields); i++) {
        Py_ssize_t offset = offset_of(of, PyTuple_GET_ITEM(fields, i));
        if (offset < 0) {
            return -1;
        }
        shape->offset[i] = offset;
    }
    shape->size = PyTuple_GET_SIZE(fields);
    shape->type = (PyTypeObject *)Py_NewRef(type);
    return 0;
}

/* A new struct, all of its fields empty. */
static inline PyObject *
struct_new(PyTypeObject *type)
{
    PyObject *made = PyObject_New(PyObject, type);
    if (made != NULL) {
        memset((char *)made + sizeof(PyObject), 0, (size_t)type->tp_basicsize - sizeof(PyObject));
    }
    return made;
}

static inline PyObject **
field_at(PyObject *of, Py_ssize_t offset)
{
    return (PyObject **)((char *)of + offset);
}

/* ---- levels --------------------------------------------------------------------------------- */

typedef struct {
    PyTypeObject *levels_type, *decoder_type, *lines_type, *ladder_type, *run_type;
} State;

/* Levels that were checked, and are made when they are touched. */
typedef struct {
    PyObject_HEAD
    PyObject *frame;        /* bytes that `first` points into */
    const char *first;      /* the opening bracket */
    Py_ssize_t size, count; /* bytes with both brackets; levels */
    PyObject *made;         /* tuple of levels, once they were touched */
    PyTypeObject *level;    /* the type of each, and where price and quantity are in it */
    Py_ssize_t offset[2];
} Levels;

/* [["price","quantity"],…]: what there is between the brackets, and how many. */
static int
skip_levels(Cursor *cursor, Py_ssize_t *count)
{
    const char *text;
    Py_ssize_t size, found = 0;
    if (!skip_byte(cursor, '[')) {
        return 0;
    }
    if (skip_byte(cursor, ']')) {
        *count = 0;
        return 1;
    }
    do {
        if (!skip_byte(cursor, '[') || !skip_string(cursor, &text, &size)
            || !skip_byte(cursor, ',') || !skip_string(cursor, &text, &size)
            || !skip_byte(cursor, ']')) {
            return 0;
        }
        found++;
    } while (skip_byte(cursor, ','));
    *count = found;
    return skip_byte(cursor, ']');
}

static PyObject *
levels_new(PyTypeObject *type, PyObject *frame, const char *first, Py_ssize_t size,
           Py_ssize_t count, const Shape *level)
{
    Levels *levels = PyObject_New(Levels, type);
    if (levels == NULL) {
        return NULL;
    }
    levels->frame = Py_NewRef(frame);
    levels->first = first;
    levels->size = size;
    levels->count = count;
    levels->made = NULL;
    levels->level = (PyTypeObject *)Py_NewRef(level->type);
    levels->offset[0] = level->offset[0];
    levels->offset[1] = level->offset[1];
    return (PyObject *)levels;
}

static void
levels_dealloc(Levels *levels)
{
    PyTypeObject *type = Py_TYPE(levels);
    Py_DECREF(levels->frame);
    Py_XDECREF(levels->made);
    Py_DECREF(levels->level);
    PyObject_Free(levels);
    Py_DECREF(type);
}

static PyObject *
level_made(const Levels *levels, Cursor *cursor)
{
    PyObject *level = struct_new(levels->level);
    if (level == NULL) {
        return NULL;
    }
    for (int i = 0; i < 2; i++) {
        const char *text;
        Py_ssize_t size;
        cursor->at++;  /* what stands before it: it was checked when these levels were */
        if (!skip_string(cursor, &text, &size)) {
            PyErr_SetString(PyExc_SystemError, "levels that were checked are none");
            Py_DECREF(level);
            return NULL;
        }
        PyObject *value = ascii(text, size);
        if (value == NULL) {
            Py_DECREF(level);
            return NULL;
        }
        *field_at(level, levels->offset[i]) = value;
    }
    cursor->at += 2;
    return level;
}

/* The levels as a tuple; borrowed. */
static PyObject *
levels_made(Levels *levels)
{
    if (levels->made != NULL) {
        return levels->made;
    }
    PyObject *made = PyTuple_New(levels->count);
    if (made == NULL) {
        return NULL;
    }
    Cursor cursor = {levels->first + 1, levels->first + levels->size};
    for (Py_ssize_t i = 0; i < levels->count; i++) {
        PyObject *level = level_made(levels, &cursor);
        if (level == NULL) {
            Py_DECREF(made);
            return NULL;
        }
        PyTuple_SET_ITEM(made, i, level);
    }
    if (levels->count > 0) {
        PyObject_GC_UnTrack(made);  /* nothing in it can be part of a cycle */
    }
    if (levels->made != NULL) {  /* making them ran code that touched them */
        Py_DECREF(made);
    }
    else {
        levels->made = made;
    }
    return levels->made;
}

static Py_ssize_t
levels_length(Levels *levels)
{
    return levels->count;
}

static PyObject *
levels_item(Levels *levels, Py_ssize_t index)
{
    PyObject *made = levels_made(levels);
    if (made == NULL) {
        return NULL;
    }
    if (index < 0 || index >= levels->count) {
        PyErr_SetString(PyExc_IndexError, "level index out of range");
        return NULL;
    }
    return Py_NewRef(PyTuple_GET_ITEM(made, index));
}

static PyObject *
levels_list(Levels *levels)
{
    PyObject *made = levels_made(levels);
    return made == NULL ? NULL : PySequence_List(made);
}

static PyObject *
levels_subscript(Levels *levels, PyObject *key)
{
    if (PyIndex_Check(key)) {
        Py_ssize_t index = PyNumber_AsSsize_t(key, PyExc_IndexError);
        if (index == -1 && PyErr_Occurred()) {
            return NULL;
        }
        return levels_item(levels, index < 0 ? index + levels->count : index);
    }
    PyObject *list = levels_list(levels);
    if (list == NULL) {
        return NULL;
    }
    PyObject *part = PyObject_GetItem(list, key);
    Py_DECREF(list);
    return part;
}

static int
levels_contains(Levels *levels, PyObject *value)
{
    PyObject *made = levels_made(levels);
    return made == NULL ? -1 : PySequence_Contains(made, value);
}

static PyObject *
levels_iter(Levels *levels)
{
    PyObject *made = levels_made(levels);
    return made == NULL ? NULL : PyObject_GetIter(made);
}

static PyObject *
levels_repr(Levels *levels)
{
    PyObject *list = levels_list(levels);
    if (list == NULL) {
        return NULL;
    }
    PyObject *text = PyObject_Repr(list);
    Py_DECREF(list);
    return text;
}

/* As a list compares, with lists and with its like. */
static PyObject *
levels_compare(PyObject *self, PyObject *other, int how)
{
    PyTypeObject *type = Py_TYPE(self);
    int alike = Py_IS_TYPE(other, type);
    if (!alike && !PyList_Check(other)) {
        Py_RETURN_NOTIMPLEMENTED;
    }
    if (alike && (how == Py_EQ || how == Py_NE)) {
        Levels *one = (Levels *)self, *two = (Levels *)other;
        if (one->size == two->size && memcmp(one->first, two->first, (size_t)one->size) == 0) {
            return PyBool_FromLong(how == Py_EQ);
        }
    }
    PyObject *mine = levels_list((Levels *)self);
    if (mine == NULL) {
        return NULL;
    }
    PyObject *theirs = alike ? levels_list((Levels *)other) : Py_NewRef(other);
    PyObject *result = theirs == NULL ? NULL : PyObject_RichCompare(mine, theirs, how);
    Py_XDECREF(theirs);
    Py_DECREF(mine);
    return result;
}

static PyObject *
levels_index(Levels *levels, PyObject *args)
{
    PyObject *list = levels_list(levels);
    PyObject *index = list == NULL ? NULL : PyObject_GetAttrString(list, "index");
    PyObject *found = index == NULL ? NULL : PyObject_CallObject(index, args);
    Py_XDECREF(index);
    Py_XDECREF(list);
    return found;
}

static PyObject *
levels_count(Levels *levels, PyObject *value)
{
    PyObject *made = levels_made(levels);
    if (made == NULL) {
        return NULL;
    }
    Py_ssize_t count = PySequence_Count(made, value);
    return count < 0 ? NULL : PyLong_FromSsize_t(count);
}

/* Copies and pickles are lists, which every Python can read. */
static PyObject *
levels_reduce(Levels *levels, PyObject *Py_UNUSED(nothing))
{
    PyObject *list = levels_list(levels);
    return list == NULL ? NULL : Py_BuildValue("(O(N))", (PyObject *)&PyList_Type, list);
}

static PyMethodDef levels_methods[] = {
    {"index", (PyCFunction)levels_index, METH_VARARGS, "Where the first such level is."},
    {"count", (PyCFunction)levels_count, METH_O, "How many such levels there are."},
    {"__reduce__", (PyCFunction)levels_reduce, METH_NOARGS, "A list of the same levels."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot levels_slots[] = {
    {Py_tp_doc, "Levels of a book: an immutable sequence that is like a list of them."},
    {Py_tp_dealloc, levels_dealloc},
    {Py_tp_repr, levels_repr},
    {Py_tp_hash, PyObject_HashNotImplemented},
    {Py_tp_iter, levels_iter},
    {Py_tp_richcompare, levels_compare},
    {Py_tp_methods, levels_methods},
    {Py_sq_length, levels_length},
    {Py_sq_item, levels_item},
    {Py_sq_contains, levels_contains},
    {Py_mp_length, levels_length},
    {Py_mp_subscript, levels_subscript},
    {0, NULL},
};

static PyType_Spec levels_spec = {
    .name = "k2trio.compiled._core.Levels",
    .basicsize = sizeof(Levels),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE
             | Py_TPFLAGS_SEQUENCE,
    .slots = levels_slots,
};

/* ---- layouts -------------------------------------------------------------------------------- */

/* What stands behind a literal. */
enum {
    END = 'e',       /* nothing: the frame is over */
    COUNT = 'c',     /* an integer from 0 */
    INTEGER = 'i',   /* any integer */
    TEXT = 't',      /* a string */
    TRUTH = 'b',     /* true or false */
    IGNORED = 'x',   /* the same, which no field holds */
    UNUSED = 'u',    /* a string, which no field holds */
    LEVELS = 'l',
    SYMBOL = 's',    /* the stream's own symbol, in quotes */
    INTERVAL = 'v',  /* the stream's own interval, in quotes */
    OPEN = 'o',      /* a struct within the payload; what follows is in it */
    CLOSE = 'z',     /* the end of it: what follows is in the payload again */
};

typedef struct {
    Literal literal;
    int what;
    Py_ssize_t offset;  /* of the field */
} Step;

/* How the next message of a stream follows from the one before, as far as that is looked at. */
enum { NO_RULE = 0, CONTIGUOUS = 1, GROWING = 2 };

typedef struct {
    PyTypeObject *type, *inner;  /* of the payload; of what is in it, or NULL */
    Step step[MAX_STEPS];
    Py_ssize_t steps;
    int rule;
    /* At which steps the integers stand that order messages and tell their time; -1: nowhere. */
    int first, last, time, begin, end;
} Layout;

static void
layout_free(Layout *layout)
{
    if (layout != NULL) {
        Py_XDECREF(layout->type);
        Py_XDECREF(layout->inner);
        PyMem_Free(layout);
    }
}

static int
is_integer_step(const Layout *layout, int at)
{
    return at == -1
           || (0 <= at && at < layout->steps
               && (layout->step[at].what == COUNT || layout->step[at].what == INTEGER));
}

/* Steps: tuples of the literal, what stands behind it, and the name of its field or None. */
static int
layout_steps(Layout *layout, PyObject *steps)
{
    PyTypeObject *of = layout->type;
    int inside = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(steps); i++) {
        Step *step = &layout->step[i];
        const char *bytes;
        Py_ssize_t size;
        PyObject *field;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(steps, i), "y#CO", &bytes, &size, &step->what,
                              &field)) {
            return -1;
        }
        if (size < 1 || size > MAX_LITERAL || step->what < 1 || step->what > 127
            || strchr("ecitbxulsvoz", step->what) == NULL) {
            PyErr_SetString(PyExc_ValueError, "a step that cannot be");
            return -1;
        }
        literal_init(&step->literal, bytes, size);
        if (strchr("citblsvo", step->what) != NULL) {
            step->offset = PyUnicode_Check(field) ? offset_of(of, field) : -1;
            if (step->offset < 0) {
                if (!PyErr_Occurred()) {
                    PyErr_SetString(PyExc_ValueError, "a step without a field");
                }
                return -1;
            }
        }
        if (step->what == OPEN ? inside || layout->inner == NULL : step->what == CLOSE && !inside) {
            PyErr_SetString(PyExc_ValueError, "structs within structs that cannot be");
            return -1;
        }
        if (step->what == OPEN) {
            inside = 1;
            of = layout->inner;
        }
        else if (step->what == CLOSE) {
            inside = 0;
            of = layout->type;
        }
        if ((step->what == END) != (i + 1 == PyTuple_GET_SIZE(steps))) {
            PyErr_SetString(PyExc_ValueError, "a layout ends with its end");
            return -1;
        }
    }
    layout->steps = PyTuple_GET_SIZE(steps);
    return 0;
}

static int
watched(PyObject *type)
{
    return !PyType_Check(type) || PyType_HasFeature((PyTypeObject *)type, Py_TPFLAGS_HAVE_GC)
           || ((PyTypeObject *)type)->tp_itemsize != 0;
}

static Layout *
layout_new(PyObject *spec)
{
    PyObject *type, *inner, *steps;
    Layout *layout = PyMem_Calloc(1, sizeof(Layout));
    if (layout == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    if (!PyArg_ParseTuple(spec, "OOO!iiiiii", &type, &inner, &PyTuple_Type, &steps, &layout->rule,
                          &layout->first, &layout->last, &layout->time, &layout->begin,
                          &layout->end)) {
        layout_free(layout);
        return NULL;
    }
    if (watched(type) || (inner != Py_None && watched(inner))) {
        PyErr_SetString(PyExc_TypeError, "a struct that is watched by the garbage collector");
        layout_free(layout);
        return NULL;
    }
    layout->type = (PyTypeObject *)Py_NewRef(type);
    layout->inner = inner == Py_None ? NULL : (PyTypeObject *)Py_NewRef(inner);
    if (PyTuple_GET_SIZE(steps) > MAX_STEPS || layout_steps(layout, steps) < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "a layout of too many steps");
        }
        layout_free(layout);
        return NULL;
    }
    int ruled = layout->rule == CONTIGUOUS || layout->rule == GROWING;
    if (!is_integer_step(layout, layout->first) || !is_integer_step(layout, layout->last)
        || !is_integer_step(layout, layout->time) || !is_integer_step(layout, layout->begin)
        || !is_integer_step(layout, layout->end)
        || (ruled && (layout->first < 0 || layout->last < 0))
        || ((layout->begin < 0) != (layout->end < 0))) {
        PyErr_SetString(PyExc_ValueError, "what orders messages is an integer of theirs");
        layout_free(layout);
        return NULL;
    }
    return layout;
}

/* ---- the decoder ---------------------------------------------------------------------------- */

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
    int64_t first = numbers[layout->first], last = numbers[layout->last];
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

static struct PyModuleDef module_def;

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

/* ---- lines ---------------------------------------------------------------------------------- */

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

/* Where the payload of a frame stands, if that can be seen at once. The frame is a valid combined
   one, of that stream. Where its first closing brace is the last byte but one, that ends the
   payload, as the last byte ends the frame. */
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
    if (*cursor.at != '{' || memchr(cursor.at, '}', size_of) != cursor.end - 1
        || memchr(cursor.at, '\n', size_of) != NULL || memchr(cursor.at, '\r', size_of) != NULL) {
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

/* ---- frames --------------------------------------------------------------------------------- */

#define FINAL_TEXT 0x81  /* RFC 6455, 5.2: FIN, and the opcode of a text */
#define MARK_16_BIT 126  /* the length is in the next two bytes */

static int
is_utf8(const char *at, Py_ssize_t size)
{
    if (is_ascii(at, size)) {
        return 1;
    }
    PyObject *text = PyUnicode_DecodeUTF8(at, size, NULL);
    if (text == NULL) {
        return 0;
    }
    Py_DECREF(text);
    return 1;
}

/* Append the run of whole text frames that begins there; where it ends. What is not taken, for
   whatever reason, is for the pure path to look at. */
static PyObject *
core_cut(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 4 || !PyBytes_Check(args[0]) || !PyLong_Check(args[1]) || !PyLong_Check(args[2])
        || !PyList_Check(args[3])) {
        PyErr_SetString(PyExc_TypeError, "cut(data: bytes, at: int, longest: int, texts: list)");
        return NULL;
    }
    const char *data = PyBytes_AS_STRING(args[0]);
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
    Py_ssize_t at = PyLong_AsSsize_t(args[1]), longest = PyLong_AsSsize_t(args[2]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (at < 0 || at > size) {
        PyErr_SetString(PyExc_ValueError, "begins outside of the data");
        return NULL;
    }
    while (size - at >= 4) {
        const unsigned char *head = (const unsigned char *)data + at;
        if (head[0] != FINAL_TEXT || head[1] != MARK_16_BIT) {
            break;
        }
        Py_ssize_t length = head[2] << 8 | head[3];
        if (length < MARK_16_BIT || length > longest || size - at - 4 < length) {
            break;
        }
        if (!is_utf8(data + at + 4, length)) {
            if (!PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
                return NULL;
            }
            PyErr_Clear();
            break;
        }
        PyObject *text = PyBytes_FromStringAndSize(data + at + 4, length);
        if (text == NULL || PyList_Append(args[3], text) < 0) {
            Py_XDECREF(text);
            return NULL;
        }
        Py_DECREF(text);
        at += 4 + length;
    }
    return PyLong_FromSsize_t(at);
}

/* ---- one side of a book --------------------------------------------------------------------- */

#define DECIMALS 8              /* that keys have */
#define MAX_WHOLE_DIGITS 10     /* of a price: with the decimals, keys stay below 10 to the 18 */
#define MAX_QUANTITY_DIGITS 18

static const int64_t power_of_ten[] = {
    1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000,
};

/* A level. The text that the exchange wrote follows from numbers and decimals, as only what is
   written in the one usual way is taken. */
typedef struct {
    int64_t key, quantity;  /* the price by DECIMALS, of asks times -1; all digits of the quantity */
    PyObject *level;        /* NULL until somebody looks at it */
    uint8_t price_decimals, quantity_decimals;
} Rung;

typedef struct {
    PyObject_HEAD
    PyTypeObject *level, *levels_type;
    Py_ssize_t offset[2];  /* of price and quantity in a level */
    PyObject *unusual;     /* raised for what only the pure path understands */
    Rung *rung;            /* by key: the best price is the last */
    Py_ssize_t size, room, most;
    int64_t floor;         /* behind it nothing is known */
    int sign, limited;
} Ladder;

/* A decimal as the exchange writes it: no sign, no needless zero, digits on both sides of a point,
   or no point. */
static int
decimal_of(const char *at, Py_ssize_t size, Py_ssize_t most_whole, Py_ssize_t most_decimals,
           int64_t *value, uint8_t *decimals)
{
    const char *end = at + size, *first = at, *point = NULL;
    uint64_t found = 0;  /* which 19 digits fit into */
    if (size < 1 || size > MAX_DIGITS + 1) {
        return 0;
    }
    for (; at < end; at++) {
        if (*at == '.' && point == NULL) {
            point = at;
        }
        else if ((unsigned char)(*at - '0') < 10) {
            found = found * 10 + (uint64_t)(*at - '0');
        }
        else {
            return 0;
        }
    }
    Py_ssize_t whole = (point == NULL ? end : point) - first;
    Py_ssize_t fraction = point == NULL ? 0 : end - point - 1;
    if (whole < 1 || whole > most_whole || fraction > most_decimals || whole + fraction > MAX_DIGITS
        || (point != NULL && fraction == 0) || (*first == '0' && whole > 1)) {
        return 0;
    }
    *value = (int64_t)found;
    *decimals = (uint8_t)fraction;
    return 1;
}

/* The text of a decimal. */
static PyObject *
text_of_decimal(int64_t value, int decimals)
{
    char text[MAX_DIGITS + 8];
    char *at = text + sizeof text;
    int written = 0;
    do {
        if (decimals > 0 && written == decimals) {
            *--at = '.';
        }
        *--at = (char)('0' + value % 10);
        value /= 10;
        written++;
    } while (value != 0 || written <= decimals);
    return ascii(at, text + sizeof text - at);
}

/* The first rung whose key is not lower: most are near the best, so the search begins there. */
static Py_ssize_t
rung_at(const Ladder *self, int64_t key)
{
    Py_ssize_t high = self->size, step = 1;
    while (high - step >= 0 && self->rung[high - step].key >= key) {
        high -= step;
        step *= 2;
    }
    Py_ssize_t low = high - step < 0 ? 0 : high - step + 1;
    while (low < high) {
        Py_ssize_t middle = low + (high - low) / 2;
        if (self->rung[middle].key < key) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low;
}

static int
make_room(Ladder *self)
{
    if (self->size < self->room) {
        return 0;
    }
    Py_ssize_t room = self->room ? 2 * self->room : 32;
    Rung *moved = PyMem_Realloc(self->rung, (size_t)room * sizeof(Rung));
    if (moved == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->rung = moved;
    self->room = room;
    return 0;
}

/* Set a level, or remove it; `level` is it where it is made already. */
static int
set_level(Ladder *self, const Rung *changed, PyObject *level)
{
    Py_ssize_t at = rung_at(self, changed->key);
    Rung *rung = self->rung + at;
    int there = at < self->size && rung->key == changed->key;
    size_t behind = (size_t)(self->size - at) * sizeof(Rung);
    PyObject *gone = there ? rung->level : NULL;
    if (changed->quantity == 0) {
        if (there) {
            memmove(rung, rung + 1, behind - sizeof(Rung));
            self->size--;
        }
    }
    else {
        if (!there) {
            if (make_room(self) < 0) {
                return -1;
            }
            rung = self->rung + at;
            memmove(rung + 1, rung, behind);
            self->size++;
        }
        *rung = *changed;
        rung->level = Py_XNewRef(level);
    }
    Py_XDECREF(gone);
    return 0;
}

static int
change(Ladder *self, const char *price, Py_ssize_t price_size, const char *quantity,
       Py_ssize_t quantity_size, PyObject *level)
{
    Rung changed;
    if (!decimal_of(price, price_size, MAX_WHOLE_DIGITS, DECIMALS, &changed.key,
                    &changed.price_decimals)
        || !decimal_of(quantity, quantity_size, MAX_QUANTITY_DIGITS, MAX_QUANTITY_DIGITS,
                       &changed.quantity, &changed.quantity_decimals)) {
        PyErr_SetString(self->unusual, "a level that is written in no usual way");
        return -1;
    }
    changed.key *= self->sign * power_of_ten[DECIMALS - changed.price_decimals];
    return set_level(self, &changed, level);
}

static int
change_by_levels(Ladder *self, const Levels *levels)
{
    Cursor cursor = {levels->first + 1, levels->first + levels->size};
    for (Py_ssize_t i = 0; i < levels->count; i++) {
        const char *text[2];
        Py_ssize_t size[2];
        for (int part = 0; part < 2; part++) {
            cursor.at++;  /* what stands before it was checked when these levels were */
            if (!skip_string(&cursor, &text[part], &size[part])) {
                PyErr_SetString(PyExc_SystemError, "levels that were checked are none");
                return -1;
            }
        }
        cursor.at += 2;
        if (change(self, text[0], size[0], text[1], size[1], NULL) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
change_by_level(Ladder *self, PyObject *level)
{
    PyObject *price = NULL, *quantity = NULL;
    if (Py_IS_TYPE(level, self->level)) {
        price = *field_at(level, self->offset[0]);
        quantity = *field_at(level, self->offset[1]);
    }
    if (price == NULL || quantity == NULL || !PyUnicode_Check(price) || !PyUnicode_Check(quantity)
        || !PyUnicode_IS_ASCII(price) || !PyUnicode_IS_ASCII(quantity)) {
        PyErr_SetString(self->unusual, "a level that is none");
        return -1;
    }
    return change(self, (const char *)PyUnicode_1BYTE_DATA(price), PyUnicode_GET_LENGTH(price),
                  (const char *)PyUnicode_1BYTE_DATA(quantity), PyUnicode_GET_LENGTH(quantity),
                  level);
}

/* Let the worst levels go where there are too many. */
static void
shed(Ladder *self)
{
    Py_ssize_t leaving = self->size - self->most;
    if (leaving <= 0) {
        return;
    }
    for (Py_ssize_t i = 0; i < leaving; i++) {
        Py_XDECREF(self->rung[i].level);
    }
    memmove(self->rung, self->rung + leaving, (size_t)self->most * sizeof(Rung));
    self->size = self->most;
    if (!self->limited || self->floor < self->rung[0].key) {
        self->floor = self->rung[0].key;
    }
    self->limited = 1;
}

static PyObject *
ladder_update(Ladder *self, PyObject *changes)
{
    int failed = 0;
    if (Py_IS_TYPE(changes, self->levels_type)) {
        failed = change_by_levels(self, (Levels *)changes) < 0;
    }
    else {
        PyObject *all = PySequence_Tuple(changes);
        if (all == NULL) {
            return NULL;
        }
        for (Py_ssize_t i = 0; !failed && i < PyTuple_GET_SIZE(all); i++) {
            failed = change_by_level(self, PyTuple_GET_ITEM(all, i)) < 0;
        }
        Py_DECREF(all);
    }
    if (failed) {
        return NULL;
    }
    shed(self);
    Py_RETURN_NONE;
}

/* The level on a rung; owned. */
static PyObject *
level_on(Ladder *self, Py_ssize_t at)
{
    Rung *rung = &self->rung[at];
    if (rung->level != NULL) {
        return Py_NewRef(rung->level);
    }
    int64_t price = self->sign * rung->key / power_of_ten[DECIMALS - rung->price_decimals];
    int price_decimals = rung->price_decimals, quantity_decimals = rung->quantity_decimals;
    int64_t quantity = rung->quantity;
    PyObject *level = struct_new(self->level);
    if (level == NULL) {
        return NULL;
    }
    *field_at(level, self->offset[0]) = text_of_decimal(price, price_decimals);
    *field_at(level, self->offset[1]) = text_of_decimal(quantity, quantity_decimals);
    if (*field_at(level, self->offset[0]) == NULL || *field_at(level, self->offset[1]) == NULL) {
        Py_DECREF(level);
        return NULL;
    }
    self->rung[at].level = Py_NewRef(level);  /* neither strings nor levels are watched: no code ran */
    return level;
}

/* So many levels as a list, the best first. */
static PyObject *
best_levels(Ladder *self, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    if (list != NULL && count > self->size) {  /* making it ran code that changed the side */
        PyErr_SetString(PyExc_RuntimeError, "the side changed meanwhile");
        Py_CLEAR(list);
    }
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyObject *level = level_on(self, self->size - 1 - i);
        if (level == NULL) {
            Py_CLEAR(list);
        }
        else {
            PyList_SET_ITEM(list, i, level);
        }
    }
    return list;
}

static PyObject *
ladder_top(Ladder *self, PyObject *count)
{
    Py_ssize_t wanted = PyNumber_AsSsize_t(count, NULL);
    if (wanted == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (wanted < 0) {
        wanted = 0;
    }
    return best_levels(self, wanted < self->size ? wanted : self->size);
}

static PyObject *
ladder_iter(Ladder *self)
{
    PyObject *list = best_levels(self, self->size);
    if (list == NULL) {
        return NULL;
    }
    PyObject *iterator = PyObject_GetIter(list);
    Py_DECREF(list);
    return iterator;
}

static Py_ssize_t
ladder_length(Ladder *self)
{
    return self->size;
}

static PyObject *
ladder_crosses(Ladder *self, PyObject *of)
{
    if (!PyObject_TypeCheck(of, Py_TYPE(self))) {
        PyErr_SetString(PyExc_TypeError, "the other side is wanted");
        return NULL;
    }
    Ladder *other = (Ladder *)of;
    if (self->size == 0 || other->size == 0) {
        Py_RETURN_FALSE;
    }
    int64_t one = self->rung[self->size - 1].key, two = other->rung[other->size - 1].key;
    return PyBool_FromLong(one >= -two);  /* the keys of one side are negative */
}

static PyObject *
ladder_limit(Ladder *self, PyObject *Py_UNUSED(nothing))
{
    self->limited = self->size > 0;
    self->floor = self->size > 0 ? self->rung[0].key : 0;
    Py_RETURN_NONE;
}

/* An integer as a key; one that no key can be becomes one that is lower, or higher, than all. */
static int
key_of(PyObject *number, int64_t *key)
{
    int overflow;
    long long found = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (found == -1 && overflow == 0 && PyErr_Occurred()) {
        return -1;
    }
    *key = overflow == 0 ? found : overflow < 0 ? INT64_MIN : INT64_MAX;
    return 0;
}

static PyObject *
ladder_find(Ladder *self, PyObject *number)
{
    int64_t key;
    if (key_of(number, &key) < 0) {
        return NULL;
    }
    Py_ssize_t at = rung_at(self, key);
    if (at < self->size && self->rung[at].key == key) {
        return level_on(self, at);
    }
    Py_RETURN_NONE;
}

static PyObject *
ladder_down_to(Ladder *self, PyObject *number)
{
    int64_t key;
    if (key_of(number, &key) < 0) {
        return NULL;
    }
    return best_levels(self, self->size - rung_at(self, key));
}

static PyObject *
ladder_best(Ladder *self, void *Py_UNUSED(nothing))
{
    if (self->size == 0) {
        Py_RETURN_NONE;
    }
    return level_on(self, self->size - 1);
}

static PyObject *
ladder_known(Ladder *self, void *Py_UNUSED(nothing))
{
    return PyLong_FromSsize_t(self->size - (self->limited ? rung_at(self, self->floor) : 0));
}

static PyObject *
ladder_whole(Ladder *self, void *Py_UNUSED(nothing))
{
    return PyBool_FromLong(!self->limited);
}

static PyObject *
ladder_exhausted(Ladder *self, void *Py_UNUSED(nothing))
{
    return PyBool_FromLong(
        self->limited && (self->size == 0 || self->rung[self->size - 1].key < self->floor));
}

static PyObject *
ladder_floor(Ladder *self, void *Py_UNUSED(nothing))
{
    if (!self->limited) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLongLong(self->floor);
}

static PyObject *
ladder_sign(Ladder *self, void *Py_UNUSED(nothing))
{
    return PyLong_FromLong(self->sign);
}

static PyObject *
ladder_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"sign", "level", "level_fields", "most", "unusual", NULL};
    int sign;
    Py_ssize_t most;
    PyObject *level, *fields, *unusual;
    if (!PyArg_ParseTupleAndKeywords(args, named, "iOO!nO", names, &sign, &level, &PyTuple_Type,
                                     &fields, &most, &unusual)) {
        return NULL;
    }
    if ((sign != 1 && sign != -1) || most < 1 || PyTuple_GET_SIZE(fields) != 2) {
        PyErr_SetString(PyExc_ValueError, "a side that cannot be");
        return NULL;
    }
    PyObject *module = PyType_GetModuleByDef(type, &module_def);
    Shape shape = {NULL, 0, {0}};
    if (module == NULL || shape_init(&shape, level, fields) < 0) {
        return NULL;
    }
    Ladder *self = (Ladder *)type->tp_alloc(type, 0);
    if (self == NULL) {
        shape_clear(&shape);
        return NULL;
    }
    self->level = shape.type;  /* with its reference */
    self->offset[0] = shape.offset[0];
    self->offset[1] = shape.offset[1];
    self->levels_type
        = (PyTypeObject *)Py_NewRef(((State *)PyModule_GetState(module))->levels_type);
    self->unusual = Py_NewRef(unusual);
    self->sign = sign;
    self->most = most;
    return (PyObject *)self;
}

static void
ladder_dealloc(Ladder *self)
{
    PyTypeObject *type = Py_TYPE(self);
    for (Py_ssize_t i = 0; i < self->size; i++) {
        Py_XDECREF(self->rung[i].level);
    }
    PyMem_Free(self->rung);
    Py_XDECREF(self->level);
    Py_XDECREF(self->levels_type);
    Py_XDECREF(self->unusual);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef ladder_methods[] = {
    {"update", (PyCFunction)ladder_update, METH_O, "Set levels; remove those without quantity."},
    {"top", (PyCFunction)ladder_top, METH_O, "The best levels, the best first."},
    {"crosses", (PyCFunction)ladder_crosses, METH_O, "Whether the best prices meet."},
    {"limit", (PyCFunction)ladder_limit, METH_NOARGS, "Nothing is known behind the worst."},
    {"find", (PyCFunction)ladder_find, METH_O, "The level with a key, or None."},
    {"down_to", (PyCFunction)ladder_down_to, METH_O, "The levels down to a key, the best first."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef ladder_properties[] = {
    {"best", (getter)ladder_best, NULL, "The best level, or None.", NULL},
    {"known", (getter)ladder_known, NULL, "How many of the best are all that there are.", NULL},
    {"whole", (getter)ladder_whole, NULL, "Whether there are no levels but these.", NULL},
    {"exhausted", (getter)ladder_exhausted, NULL, "Whether the price has left them.", NULL},
    {"floor", (getter)ladder_floor, NULL, "Behind which key nothing is known, or None.", NULL},
    {"sign", (getter)ladder_sign, NULL, "+1 of bids, -1 of asks.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot ladder_slots[] = {
    {Py_tp_doc, "One side of a book: its levels, sorted by exact prices."},
    {Py_tp_new, ladder_new},
    {Py_tp_dealloc, ladder_dealloc},
    {Py_tp_iter, ladder_iter},
    {Py_tp_methods, ladder_methods},
    {Py_tp_getset, ladder_properties},
    {Py_sq_length, ladder_length},
    {0, NULL},
};

static PyType_Spec ladder_spec = {
    .name = "k2trio.compiled._core.Ladder",
    .basicsize = sizeof(Ladder),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = ladder_slots,
};

/* ---- the module ----------------------------------------------------------------------------- */

static PyStructSequence_Field run_fields[] = {
    {"stream", "name of the stream"},
    {"messages", "how many the batch has of it"},
    {"in_order", "whether each of them follows the one before it"},
    {"first", "first key of the first"},
    {"after", "what comes after the last key of the last"},
    {"time", "when the last was made, or None"},
    {"begin", "of aggregates: the first trade of the first"},
    {"due", "of aggregates: what comes after the last trade of the last"},
    {NULL, NULL},
};

static PyStructSequence_Desc run_desc = {
    .name = "k2trio.compiled._core.Run",
    .doc = "What a batch has of a stream.",
    .fields = run_fields,
    .n_in_sequence = 8,
};

static PyMethodDef core_methods[] = {
    {"cut", (PyCFunction)(void (*)(void))core_cut, METH_FASTCALL,
     "Append the run of whole text frames that begins at a place; return where it ends."},
    {NULL, NULL, 0, NULL},
};

static int
core_exec(PyObject *module)
{
    State *state = PyModule_GetState(module);
    plain_init();
    literal_init(&envelope_head, "{\"stream\":\"", 11);
    literal_init(&envelope_middle, "\",\"data\":", 9);
    state->levels_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &levels_spec, NULL);
    state->decoder_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &decoder_spec, NULL);
    state->lines_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &lines_spec, NULL);
    state->ladder_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &ladder_spec, NULL);
    state->run_type = PyStructSequence_NewType(&run_desc);
    if (state->levels_type == NULL || state->decoder_type == NULL || state->lines_type == NULL
        || state->ladder_type == NULL || state->run_type == NULL || PyModule_AddType(module, state->levels_type) < 0
        || PyModule_AddType(module, state->decoder_type) < 0
        || PyModule_AddType(module, state->lines_type) < 0
        || PyModule_AddType(module, state->ladder_type) < 0
        || PyModule_AddType(module, state->run_type) < 0) {
        return -1;
    }
    return 0;
}

static int
core_traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->levels_type);
    Py_VISIT(state->decoder_type);
    Py_VISIT(state->lines_type);
    Py_VISIT(state->ladder_type);
    Py_VISIT(state->run_type);
    return 0;
}

static int
core_clear(PyObject *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->levels_type);
    Py_CLEAR(state->decoder_type);
    Py_CLEAR(state->lines_type);
    Py_CLEAR(state->ladder_type);
    Py_CLEAR(state->run_type);
    return 0;
}

static void
core_free(void *module)
{
    core_clear(module);
}

static PyModuleDef_Slot core_slots[] = {
    {Py_mod_exec, core_exec},
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "k2trio.compiled._core",
    .m_doc = "What the receive path does for every message, compiled.",
    .m_size = sizeof(State),
    .m_methods = core_methods,
    .m_slots = core_slots,
    .m_traverse = core_traverse,
    .m_clear = core_clear,
    .m_free = core_free,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&module_def);
}
