"""unpack_wheel.py WHEEL FOLDER PREFIX=PLACE...: unpacks members of a wheel.

The members under each PREFIX go to FOLDER/PLACE. A PREFIX that ends in '/' is a folder, any other a
single file. Each must match something: a wheel that changed its layout is an error here, not a
missing header in the middle of a build.
"""
import pathlib
import shutil
import sys
import zipfile


def place_of(member, rules):
    for prefix, place in rules:
        if member == prefix or (prefix.endswith("/") and member.startswith(prefix)):
            return prefix, place + member[len(prefix):]
    return None, None


def unpack(wheel, folder, rules):
    used = set()
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            prefix, place = place_of(info.filename, rules)
            if place is None or info.is_dir():
                continue
            target = pathlib.Path(folder, place)
            if not target.resolve().is_relative_to(pathlib.Path(folder).resolve()):
                sys.exit(f"{wheel}: the member {info.filename} points outside of {folder}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(info) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
            if info.external_attr >> 16 & 0o111:
                target.chmod(0o755)
            used.add(prefix)
    absent = [prefix for prefix, _ in rules if prefix not in used]
    if absent:
        sys.exit(f"{wheel}: holds no {', '.join(absent)}")


if __name__ == "__main__":
    unpack(sys.argv[1], sys.argv[2], [rule.split("=", 1) for rule in sys.argv[3:]])
