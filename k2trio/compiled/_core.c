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
#include "decoder.h"
#include "frames.h"
#include "ladder.h"
#include "lines.h"

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
        || PyModule_AddType(module, state->run_type) < 0
        || PyModule_AddIntMacro(module, INTERFACE) < 0) {
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
