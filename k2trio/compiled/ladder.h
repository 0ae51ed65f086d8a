/* One side of a book. */
#ifndef K2TRIO_LADDER_H
#define K2TRIO_LADDER_H

#include "levels.h"

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
        if (next_level(&cursor, text, size) < 0
            || change(self, text[0], size[0], text[1], size[1], NULL) < 0) {
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

#endif
