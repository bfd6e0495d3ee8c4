"""Xenstore as vifs.Backend and own.Own want it."""


class Store:
    """Of a handle of Debian's binding; paths and values are text."""

    def __init__(self, handle):
        self.xs = handle

    def read(self, path):
        value = self.xs.read("", path)
        return None if value is None else value.decode("utf-8", "replace")

    def write(self, path, value):
        self.xs.write("", path, value)

    def write_all(self, path, values, there=None):
        """
        At once, below the path; again if somebody else has written there meanwhile. Nothing if the key 'there'
        is not below it: what the toolstack has removed does not come back.
        """
        ended = False
        while not ended:
            t = self.xs.transaction_start()
            gone = there and self.xs.read(t, f"{path}/{there}") is None
            for key, value in () if gone else values.items():
                self.xs.write(t, f"{path}/{key}", value)
            ended = self.xs.transaction_end(t)

    def ls(self, path):
        return self.xs.ls("", path) or []
