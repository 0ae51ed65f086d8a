/* Structs of msgspec, made without a call of theirs. */
#ifndef K2TRIO_STRUCTS_H
#define K2TRIO_STRUCTS_H

#include "text.h"

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

/* Whether it is no type of structs that the garbage collector leaves alone. */
static int
watched(PyObject *type)
{
    return !PyType_Check(type) || PyType_HasFeature((PyTypeObject *)type, Py_TPFLAGS_HAVE_GC)
           || ((PyTypeObject *)type)->tp_itemsize != 0;
}

static int
shape_init(Shape *shape, PyObject *type, PyObject *fields)
{
    if (!PyType_Check(type) || !PyTuple_Check(fields) || PyTuple_GET_SIZE(fields) > MAX_FIELDS) {
        PyErr_SetString(PyExc_TypeError, "a type and a tuple of its fields are wanted");
        return -1;
    }
    PyTypeObject *of = (PyTypeObject *)type;
    if (watched(type)) {
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

#endif
