/* What all parts have in common: Python, bounds, and the types of the module. */
#ifndef K2TRIO_COMMON_H
#define K2TRIO_COMMON_H

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

#define INTERFACE 2       /* as compiled/__init__.py has it: raised with every change of it */
#define MAX_FIELDS 32     /* of a payload */
#define MAX_STEPS 48      /* of a layout */
#define MAX_LITERAL 32    /* bytes of one */
#define MAX_DIGITS 18     /* of an integer; each of them fits into 64 bits */
#define MAX_STREAMS 1024  /* of a decoder */
#define RUN_MESSAGES 4    /* a stream, on the average of a batch, from which on runs are told */
#define MAX_HEADS 4096    /* that lines remember */

/* Of the module. */
typedef struct {
    PyTypeObject *levels_type, *decoder_type, *lines_type, *ladder_type, *run_type;
} State;

static struct PyModuleDef module_def;

#endif
