"""The image that both hypervisors boot: an initramfs with Debian's benchmarks and our own.

Everything lands in build/bench-smp/. The packages are Debian 12's; of each only the programs named
here go into the image, with the shared libraries that they name. The archive is not compressed:
unpacking it would be a large part of each boot.
"""

import hashlib
import os
import pathlib
import shutil
import struct
import subprocess

TOP = pathlib.Path(__file__).resolve().parents[2]
OUT = TOP / "build" / "bench-smp"
GUEST = pathlib.Path(__file__).resolve().parent / "guest"
PACKAGES = ["rt-tests", "sysbench", "stress-ng", "dash", "util-linux", "gcc-12", "libc6-dev"]
LIBRARIES = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "lib64"]
COMPILER = "usr/lib/gcc/x86_64-linux-gnu/12"

# Place in the image: file of the packages.
PROGRAMS = {
    "bin/dash": "bin/dash",
    "bin/chrt": "usr/bin/chrt",
    "bin/hackbench": "usr/bin/hackbench",
    "bin/cyclictest": "usr/bin/cyclictest",
    "bin/sysbench": "usr/bin/sysbench",
    "bin/stress-ng": "usr/bin/stress-ng",
    "usr/bin/gcc": "usr/bin/x86_64-linux-gnu-gcc-12",
    "usr/bin/as": "usr/bin/x86_64-linux-gnu-as",
    "usr/bin/ld": "usr/bin/x86_64-linux-gnu-ld.bfd",
    f"{COMPILER}/cc1": f"{COMPILER}/cc1",
    f"{COMPILER}/collect2": f"{COMPILER}/collect2",
    f"{COMPILER}/liblto_plugin.so": f"{COMPILER}/liblto_plugin.so",
}
HEADERS = [f"{COMPILER}/include", "usr/include/x86_64-linux-gnu/bits", "usr/include/x86_64-linux-gnu/gnu",
           "usr/include/x86_64-linux-gnu/sys"]
HEADER_FILES = ["stdc-predef.h", "features.h", "features-time64.h", "stdio.h", "stdlib.h", "string.h",
                "strings.h", "alloca.h", "endian.h", "ctype.h", "unistd.h"]
OWN_PROGRAMS = ["measure", "forks", "tiny"]
OWN_FILES = {"init": "init", "unit.c": "root/unit.c", "configure": "root/configure"}


class ImageError(Exception):
    """A package or a program cannot be had."""


def fetch_packages():
    """The packages and all that they depend on, unpacked into one tree."""
    tree = OUT / "packages"
    stamp = OUT / "packages.stamp"
    wanted = " ".join(PACKAGES)
    if stamp.exists() and stamp.read_text() == wanted:
        return tree
    print("smp: fetching " + wanted, flush=True)
    debs = OUT / "debs"
    shutil.rmtree(tree, ignore_errors=True)
    (debs / "partial").mkdir(parents=True, exist_ok=True)
    tree.mkdir(parents=True)
    command = [str(TOP / "tools/debian-apt"), "apt", "install", "-q", "-q", "--yes", "--download-only"]
    done = subprocess.run(command + ["-o", f"Dir::Cache::archives={debs}", *PACKAGES],
                          stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise ImageError("the packages could not be fetched")
    for deb in sorted(debs.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", deb, tree], check=True)
    shutil.rmtree(debs)
    stamp.write_text(wanted)
    return tree


def inside(tree, path):
    """A file of the tree behind its symbolic links, which count from the tree's root."""
    for _ in range(8):
        file = tree / path
        if not file.is_symlink():
            return file
        target = os.readlink(file)
        path = target.lstrip("/") if target.startswith("/") else os.path.normpath(
            os.path.join(os.path.dirname(path), target))
    raise ImageError(f"{path}: too many symbolic links")


def needed(file):
    """Names of the shared libraries that a program or library asks for."""
    said = subprocess.run(["readelf", "-d", file], stdout=subprocess.PIPE, text=True, check=True)
    return [line.split("[")[1].rstrip("]") for line in said.stdout.splitlines() if "(NEEDED)" in line]


def libraries(tree, programs):
    """{place: file} of all shared libraries that the programs load, and of the loader."""
    found = {"lib64/ld-linux-x86-64.so.2": inside(tree, "lib64/ld-linux-x86-64.so.2")}
    queue = list(programs)
    while queue:
        for name in needed(queue.pop()):
            place = "lib/x86_64-linux-gnu/" + name
            if place in found or "lib64/" + name in found:
                continue
            files = [inside(tree, f"{d}/{name}") for d in LIBRARIES]
            files = [f for f in files if f.exists()]
            if not files:
                raise ImageError(f"no package has {name}")
            found[place] = files[0]
            queue.append(files[0])
    return found


def own_programs():
    """Our own programs, compiled statically; {place: file}."""
    made = {}
    for name in OWN_PROGRAMS:
        made["bin/" + name] = OUT / name
        subprocess.run(["gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", OUT / name,
                        GUEST / (name + ".c")], check=True)
    made.update({place: GUEST / name for name, place in OWN_FILES.items()})
    return made


def pack(files, links, out):
    """Writes the archive; files: {place: file}, links: {place: target}."""
    directories = {"dev", "proc", "sys", "tmp", "root", "run", "etc"}
    for place in [*files, *links]:
        directories.update(str(p) for p in pathlib.PurePath(place).parents if str(p) != ".")
    entries = [(d, 0o40755, b"", 0, 0) for d in sorted(directories)]
    entries.append(("dev/console", 0o20600, b"", 5, 1))
    entries += [(p, 0o100755, f.read_bytes(), 0, 0) for p, f in sorted(files.items())]
    entries += [(p, 0o120777, t.encode(), 0, 0) for p, t in sorted(links.items())]
    entries.append(("TRAILER!!!", 0, b"", 0, 0))
    with open(out.with_suffix(".new"), "wb") as image:
        for inode, (name, mode, data, major, minor) in enumerate(entries, 1):
            fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0)
            head = b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
            image.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))
    out.with_suffix(".new").rename(out)


def inputs():
    """Changes when the image has to be made anew."""
    state = hashlib.sha256(pathlib.Path(__file__).read_bytes())
    for file in sorted(GUEST.iterdir()):
        state.update(file.name.encode() + b"\0" + file.read_bytes())
    return state.hexdigest()


def make():
    """Returns the path of the image, which is made if something in it has changed."""
    OUT.mkdir(parents=True, exist_ok=True)
    image = OUT / "initrd"
    stamp = OUT / "initrd.stamp"
    if image.exists() and stamp.exists() and stamp.read_text() == inputs():
        return image
    tree = fetch_packages()
    files = {place: inside(tree, name) for place, name in PROGRAMS.items()}
    files.update(libraries(tree, list(files.values())))
    for folder in HEADERS:
        for file in (tree / folder).rglob("*.h"):
            files[str(file.relative_to(tree))] = file
    files.update({f"usr/include/{name}": tree / "usr/include" / name for name in HEADER_FILES})
    files.update(own_programs())
    busybox = shutil.which("busybox")
    if not busybox:
        raise ImageError("busybox is missing: run tools/install-packages")
    files["bin/busybox"] = pathlib.Path(busybox)
    applets = subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, text=True, check=True)
    links = {"bin/" + name: "busybox" for name in applets.stdout.split() if "bin/" + name not in files}
    # The loader's links are followed here, so that a link is one step at run time as well.
    pack(files, links, image)
    stamp.write_text(inputs())
    return image


if __name__ == "__main__":
    print(make())
