"""What `xl save` writes, as far as the tests look inside: a header and the domain's configuration
of xl, libxenlight's records, among them the stream of libxenctrl. A Saved finds its way in a file
that lies in domain 0."""

import struct

XL_HEADER = struct.Struct("<32s4I")
RECORD = struct.Struct("<II")
# libxenlight's header and the empty record that says that libxenctrl's stream follows; its image
# header and domain header.
BEFORE = 16 + 8
IMAGE = 24
DOMAIN = 16

END = 0x00
PAGES = 0x01
PV_INFO = 0x02
P2M_FRAMES = 0x03
VCPU_BASIC = 0x04
VCPU_XSAVE = 0x06
SHARED_INFO = 0x07

# Above the page number in a record of pages.
TYPE_SHIFT = 60
PINNED = 8
L1, L4 = 1, 4
NO_CONTENTS = (0xD, 0xE, 0xF)

# Where a vcpu's record has what: an index and a filler go before the registers' structure.
VCPU_HEAD = 8
VCPU_FIELDS = {"rip": 648, "cs": 656, "rflags": 664, "ss": 680, "ldt_ents": 4824, "gdt_frames": 4832, "cr3": 5008}


class Saved:
    def __init__(self, t, path):
        self.t = t
        self.path = path
        self.size = int(t.sh(f"stat -c %s {path}"))
        more = XL_HEADER.unpack(self.read(0, XL_HEADER.size))[4]
        self.config = XL_HEADER.size
        self.libxl = XL_HEADER.size + more
        self.image = self.libxl + BEFORE
        self.domain = self.image + IMAGE
        self.records = self.walk()

    def read(self, offset, size):
        said = self.t.sh(f"od -A n -v -t x1 -w64 -j {offset} -N {size} {self.path}")
        return bytes.fromhex(said.replace("\n", ""))

    def walk(self):
        """Where each record of libxenctrl's stream begins: type, offset of the head, size."""
        records = []
        offset = self.domain + DOMAIN
        while not records or records[-1][0] != END:
            kind, size = RECORD.unpack(self.read(offset, RECORD.size))
            records.append((kind, offset, size))
            offset += RECORD.size + (size + 7 & ~7)
        return records

    def body(self, kind, number=0):
        """Where the contents of such a record begin."""
        return [r for r in self.records if r[0] == kind][number][1] + RECORD.size

    def pages(self):
        """Of each page: its number, its type, where the number is, where the contents are."""
        for kind, offset, _ in self.records:
            if kind != PAGES:
                continue
            offset += RECORD.size
            (count,) = struct.unpack("<I", self.read(offset, 4))
            contents = offset + 8 + 8 * count
            for i, word in enumerate(struct.unpack(f"<{count}Q", self.read(offset + 8, 8 * count))):
                kind = word >> TYPE_SHIFT
                yield word & (1 << 52) - 1, kind, offset + 8 + 8 * i, contents
                contents += 0 if kind in NO_CONTENTS else 4096

    def vcpu(self, field):
        return self.body(VCPU_BASIC) + VCPU_HEAD + VCPU_FIELDS[field]

    def write(self, offset, data):
        """Returns what was there."""
        before = self.read(offset, len(data))
        octal = "".join(f"\\{byte:03o}" for byte in data)
        self.t.sh(f"printf '{octal}' | dd of={self.path} bs=1 seek={offset} conv=notrunc status=none")
        return before
