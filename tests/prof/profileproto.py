"""Reads profile.proto, as far as the tests look at it."""

import gzip

UNNAMED = "?"  # stands for a location that has no function


def number_at(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data):
    """(field, value) of a message: numbers as they are, strings and messages as bytes."""
    at = 0
    while at < len(data):
        tag, at = number_at(data, at)
        if tag & 7 == 0:
            value, at = number_at(data, at)
        elif tag & 7 == 2:
            length, at = number_at(data, at)
            if at + length > len(data):
                raise ValueError("a field is cut off")
            value, at = data[at:at + length], at + length
        else:
            raise ValueError("wire type %d" % (tag & 7))
        yield tag >> 3, value


def signed(number):
    """An int64: what shrank between two profiles is below 0."""
    return number - (1 << 64) if number >> 63 else number


def packed(value):
    if isinstance(value, int):
        return [signed(value)]
    numbers, at = [], 0
    while at < len(value):
        number, at = number_at(value, at)
        numbers.append(signed(number))
    return numbers


class Profile:
    """samples: (function names of the stack, innermost first; {type: value}; object bytes)."""

    def __init__(self, path):
        with gzip.open(path) as file:
            self.messages = list(fields(file.read()))
        self.strings = [v.decode() for f, v in self.messages if f == 6]
        self.types = [self.strings[dict(fields(m))[1]] for m in self.all(1)]
        self.period = sum(self.all(12))
        self.functions = {}
        for message in self.all(5):
            function = dict(fields(message))
            self.functions[function[1]] = self.strings[function.get(2, 0)]
        self.locations = dict(self.read_location(m) for m in self.all(4))
        self.samples = [self.read_sample(m) for m in self.all(2)]

    def all(self, field):
        return [v for f, v in self.messages if f == field]

    def read_location(self, message):
        number, names = 0, []
        for field, value in fields(message):
            if field == 1:
                number = value
            elif field == 4:
                names.append(self.functions[dict(fields(value))[1]])
        return number, names

    def read_sample(self, message):
        stack, values, object_bytes = [], [], 0
        for field, value in fields(message):
            if field == 1:
                stack += [name for n in packed(value) for name in self.locations[n] or [UNNAMED]]
            elif field == 2:
                values += packed(value)
            elif field == 3:
                label = dict(fields(value))
                if self.strings[label[1]] == "bytes":
                    object_bytes = label.get(3, 0)
        return stack, dict(zip(self.types, values)), object_bytes

    def total(self, value, function=None):
        return sum(values[value] for stack, values, _ in self.samples
                   if function is None or function in stack)
