/* Levels that were checked, and are made when they are touched. */
#ifndef K2TRIO_LEVELS_H
#define K2TRIO_LEVELS_H

#include "structs.h"

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

/* ["price","quantity"]: where both texts begin, and how long they are. */
static inline int
skip_level(Cursor *cursor, const char *text[2], Py_ssize_t size[2])
{
    return skip_byte(cursor, '[') && skip_string(cursor, &text[0], &size[0])
           && skip_byte(cursor, ',') && skip_string(cursor, &text[1], &size[1])
           && skip_byte(cursor, ']');
}

/* The same of levels that were checked, with what stands behind it: a comma, or the end. */
static inline int
next_level(Cursor *cursor, const char *text[2], Py_ssize_t size[2])
{
    if (!skip_level(cursor, text, size) || left(cursor) < 1) {
        PyErr_SetString(PyExc_SystemError, "levels that were checked are none");
        return -1;
    }
    cursor->at++;
    return 0;
}

/* [["price","quantity"],…]: what there is between the brackets, and how many. */
static int
skip_levels(Cursor *cursor, Py_ssize_t *count)
{
    const char *text[2];
    Py_ssize_t size[2], found = 0;
    if (!skip_byte(cursor, '[')) {
        return 0;
    }
    if (skip_byte(cursor, ']')) {
        *count = 0;
        return 1;
    }
    do {
        if (!skip_level(cursor, text, size)) {
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
    const char *text[2];
    Py_ssize_t size[2];
    if (next_level(cursor, text, size) < 0) {
        Py_DECREF(level);
        return NULL;
    }
    for (int i = 0; i < 2; i++) {
        PyObject *value = ascii(text[i], size[i]);
        if (value == NULL) {
            Py_DECREF(level);
            return NULL;
        }
        *field_at(level, levels->offset[i]) = value;
    }
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

#endif
