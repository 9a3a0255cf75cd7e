#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "pcmref_error.h"
#include "pcmref_handles.h"
#include "pcmref_python.h"

/* The interpreter with pcmref in it: `make python PYTHON=...` sets it. */
#ifndef PCMREF_PYTHON
#define PCMREF_PYTHON "python3"
#endif

static pcmref_handles chips;

/* Keep what Python raised, and return PCMREF_BAD_ARGUMENT. */
static int raised(void) {
    PyObject *type, *value, *trace, *text = NULL;
    const char *said = NULL;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (value != NULL) text = PyObject_Str(value);
    if (text != NULL) said = PyUnicode_AsUTF8(text);
    pcmref_failed(PCMREF_BAD_ARGUMENT, "%s", said == NULL ? "Python: an error without words" : said);
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    PyErr_Clear();
    return PCMREF_BAD_ARGUMENT;
}

/* Start the interpreter, unless one runs; no thread holds it afterwards. */
static int started(void) {
    PyConfig config;
    PyStatus status;
    if (Py_IsInitialized()) return 1;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    status = PyConfig_SetBytesString(&config, &config.program_name, PCMREF_PYTHON);
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) {
        pcmref_failed(PCMREF_BAD_ARGUMENT, "Python: expected an interpreter that starts, found: %s",
                      status.err_msg == NULL ? "none" : status.err_msg);
        return 0;
    }
    PyEval_SaveThread();
    return 1;
}

/* Call a function of pcmref.golden.embedded with the values of a tuple, which is given away; NULL if it raised. */
static PyObject *called(const char *function, PyObject *values) {
    PyObject *module, *callable = NULL, *result = NULL;
    if (values == NULL) return NULL;
    if ((module = PyImport_ImportModule("pcmref.golden.embedded")) != NULL)
        callable = PyObject_GetAttrString(module, function);
    if (callable != NULL) result = PyObject_CallObject(callable, values);
    Py_XDECREF(callable);
    Py_XDECREF(module);
    Py_DECREF(values);
    return result;
}

static PyObject *opened(int chip) {
    PyObject *found = (PyObject *)pcmref_handle_get(&chips, chip);
    if (found == NULL) pcmref_failed(PCMREF_BAD_HANDLE, "chip: expected the handle of an open one, found %d", chip);
    return found;
}

static const char *or_default(const char *text, const char *otherwise) {
    return text == NULL || *text == 0 ? otherwise : text;
}

int pcmref_chip_program(const char *network, const char *model, long long seed, const char *preset,
                        const char *compensation) {
    PyGILState_STATE state;
    PyObject *chip;
    int handle;
    if (!started()) return PCMREF_BAD_ARGUMENT;
    state = PyGILState_Ensure();
    chip = called("program_chip",
                  Py_BuildValue("(ssLss)", or_default(network, ""), or_default(model, "NANDAKUMAR_2019"), seed,
                                or_default(preset, "rtl8"), or_default(compensation, "none")));
    if (chip == NULL)
        handle = raised();
    else if ((handle = pcmref_handle_new(&chips, chip)) == 0) {
        handle = pcmref_failed(PCMREF_NO_MEMORY, "chips: expected at most %d, found more", PCMREF_PLACES);
        Py_DECREF(chip);
    }
    PyGILState_Release(state);
    return handle;
}

int pcmref_chip_at(int chip, double t_s) {
    PyObject *old = opened(chip), *now;
    PyGILState_STATE state;
    if (old == NULL) return PCMREF_BAD_HANDLE;
    state = PyGILState_Ensure();
    now = called("chip_at", Py_BuildValue("(Od)", old, t_s));
    if (now != NULL) {
        pcmref_handle_set(&chips, chip, now);
        Py_DECREF(old);
    } else
        raised();
    PyGILState_Release(state);
    return now == NULL ? PCMREF_BAD_ARGUMENT : 0;
}

long long pcmref_chip_size(int chip, int what) {
    PyObject *found = opened(chip), *size;
    PyGILState_STATE state;
    long long number;
    if (found == NULL) return PCMREF_BAD_HANDLE;
    if (what < PCMREF_HEIGHT || what > PCMREF_CLASSES)
        return pcmref_failed(PCMREF_BAD_ARGUMENT, "what: expected a number from 0 to 3, found %d", what);
    state = PyGILState_Ensure();
    size = called("chip_size", Py_BuildValue("(Oi)", found, what));
    number = size == NULL ? raised() : PyLong_AsLongLong(size);
    Py_XDECREF(size);
    PyGILState_Release(state);
    return number;
}

/* Memory of the caller as Python sees it; NULL stands for no memory at all, which Python refuses by its size. */
static PyObject *view(const void *memory, long long bytes, int flags) {
    static char none;
    int some = memory != NULL && bytes > 0;
    return PyMemoryView_FromMemory(some ? (char *)memory : &none, some ? (Py_ssize_t)bytes : 0, flags);
}

/* Call a function that returns nothing, with a chip held. */
static int done(const char *function, PyObject *values) {
    PyObject *nothing = called(function, values);
    int status = nothing == NULL ? raised() : 0;
    Py_XDECREF(nothing);
    return status;
}

int pcmref_chip_logits(int chip, const unsigned char *pixels, long long pixel_count, long long first, float *logits,
                       long long logit_count) {
    PyObject *found = opened(chip);
    PyGILState_STATE state;
    int status;
    if (found == NULL) return PCMREF_BAD_HANDLE;
    state = PyGILState_Ensure();
    status = done("chip_logits",
                  Py_BuildValue("(ONLN)", found, view(pixels, pixel_count, PyBUF_READ), first,
                                view(logits, logit_count * (long long)sizeof *logits, PyBUF_WRITE)));
    PyGILState_Release(state);
    return status;
}

int pcmref_chip_export(int chip, const char *folder, const char *layer, const unsigned char *pixels, long long pixel_count) {
    PyObject *found = opened(chip);
    PyGILState_STATE state;
    int status;
    if (found == NULL) return PCMREF_BAD_HANDLE;
    state = PyGILState_Ensure();
    status = done("export_chip", Py_BuildValue("(OssN)", found, or_default(folder, ""), or_default(layer, ""),
                                               view(pixels, pixel_count, PyBUF_READ)));
    PyGILState_Release(state);
    return status;
}

int pcmref_chip_close(int chip) {
    PyObject *found = opened(chip);
    PyGILState_STATE state;
    if (found == NULL) return PCMREF_BAD_HANDLE;
    state = PyGILState_Ensure();
    pcmref_handle_set(&chips, chip, NULL);
    Py_DECREF(found);
    PyGILState_Release(state);
    return 0;
}
