/* How the exchange writes payloads, step by step. */
#ifndef K2TRIO_LAYOUTS_H
#define K2TRIO_LAYOUTS_H

#include "structs.h"

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
enum { NO_RULE = 0, CONTIGUOUS = 1, GROWING = 2, CHAINED = 3 };

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
    int ruled = layout->rule >= CONTIGUOUS && layout->rule <= CHAINED;
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

#endif
