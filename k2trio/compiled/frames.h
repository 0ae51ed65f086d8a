/* Bytes of a WebSocket to text frames. */
#ifndef K2TRIO_FRAMES_H
#define K2TRIO_FRAMES_H

#include "text.h"

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

#endif
