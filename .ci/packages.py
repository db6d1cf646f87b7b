"""Checks the sdist and the wheels in a folder, as a release will upload them: `python .ci/packages.py dist`.

Their metadata and contents by twine and check-wheel-contents; and each extension for Linux. Some manylinux or musllinux
must fit it; it may export nothing but what Python looks up, need nothing but the C library, and hold nothing for
debuggers; its stack must not be executable, and all that the linker relocates be read-only from then on.
"""

import json
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

from elftools.elf.elffile import ELFFile

EXPORTED = {"PyInit__cython"}
NEEDED = ("libc.so.", "libc.musl-", "libpthread.so.")  # the last is part of the first from glibc 2.34 on
FOR_DEBUGGERS = (".symtab", ".debug_")


def check(tool: str, *arguments: str) -> None:
    if status := subprocess.run([sys.executable, "-m", tool, *arguments], check=False).returncode:
        sys.exit(status)


def fitting_policy(wheel: Path) -> str:
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(wheel)]
    shown = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return str(json.loads(shown)["overall_tag"])


def faults(elf: ELFFile) -> list[str]:
    """What is wrong with an extension, one line each."""
    found = []
    exported = {
        symbol.name
        for symbol in elf.get_section_by_name(".dynsym").iter_symbols()
        if symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] != "STB_LOCAL"
    }
    if exported != EXPORTED:
        found.append(f"it exports {sorted(exported)}, not {sorted(EXPORTED)}")
    dynamic = list(elf.get_section_by_name(".dynamic").iter_tags())
    needed = {tag.needed for tag in dynamic if tag["d_tag"] == "DT_NEEDED"}
    if foreign := sorted(name for name in needed if not name.startswith(NEEDED)):
        found.append(f"it needs {foreign}")
    if superfluous := sorted(section.name for section in elf.iter_sections() if section.name.startswith(FOR_DEBUGGERS)):
        found.append(f"it has {superfluous}")
    segments = {segment["p_type"]: segment for segment in elf.iter_segments()}
    if "PT_GNU_STACK" not in segments or segments["PT_GNU_STACK"]["p_flags"] & 1:  # PF_X
        found.append("its stack is executable")
    flags = {tag["d_tag"]: tag["d_val"] for tag in dynamic}
    if "PT_GNU_RELRO" not in segments or not flags.get("DT_FLAGS", 0) & 8:  # DF_BIND_NOW
        found.append("what the linker relocates stays writable")
    return found


def check_extensions(wheel: Path) -> list[str]:
    """Say what a wheel for Linux is; return what is wrong with it."""
    found = []
    policy = fitting_policy(wheel)
    if not policy.startswith(("manylinux", "musllinux")):
        found.append(f"{wheel.name}: it fits {policy} only")
    with zipfile.ZipFile(wheel) as archive:
        extensions = [name for name in archive.namelist() if name.endswith(".so")]
        for name in extensions:
            found += [f"{wheel.name}: {name}: {fault}" for fault in faults(ELFFile(BytesIO(archive.read(name))))]
    if len(extensions) != 1:
        found.append(f"{wheel.name}: it has {len(extensions)} extensions")
    print(f"{wheel.name}: fits {policy}", flush=True)
    return found


def main(folder: Path) -> None:
    files = sorted(map(str, folder.iterdir()))
    wheels = sorted(folder.glob("*.whl"))
    if not wheels or len(files) - len(wheels) != 1:
        sys.exit(f"{folder}: one sdist and its wheels, not {files}")
    check("twine", "check", "--strict", *files)
    check("check_wheel_contents", *map(str, wheels))
    found = [fault for wheel in wheels if "linux" in wheel.name for fault in check_extensions(wheel)]
    sys.exit("\n".join(found) or None)


main(Path(sys.argv[1]))
