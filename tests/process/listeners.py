"""Where a process can be reached: its sockets, as the kernel lists them."""
import ipaddress
import os
import re

LISTENS = "0A"


def listeners(pid):
    """{("tcp", address, port), ...}: TCP that listens, and every UDP socket, IPv4 and IPv6."""
    own = sockets_of(pid)
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        with open(f"/proc/{pid}/net/{table}") as lines:
            next(lines)
            for line in lines:
                _, local, _, state, *_, inode = line.split()[:10]
                if inode in own and (state == LISTENS or table.startswith("udp")):
                    found.add((table, *address_of(local)))
    return found


def sockets_of(pid):
    """Inodes of the sockets that a process holds."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = re.match(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{fd}"))
        except OSError:
            continue  # closed since
        if target:
            found.add(target[1])
    return found


def address_of(text):
    """"0100007F:1F90" is 127.0.0.1, port 8080: words of four bytes, each in the machine's order."""
    address, port = text.split(":")
    words = [bytes.fromhex(address[i:i + 8])[::-1] for i in range(0, len(address), 8)]
    return str(ipaddress.ip_address(b"".join(words))), int(port, 16)
