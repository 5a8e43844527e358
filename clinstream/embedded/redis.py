"""Redis: recent windows and other things that can be rebuilt from the log; how it is started."""

from collections.abc import Mapping
from pathlib import Path

from clinstream.embedded import probes
from clinstream.embedded.home import Home
from clinstream.supervision.component import Command, Component


def component(home: Home, ports: Mapping[str, int], binary: Path) -> Component:
    """redis-server on `ports["redis"]`, appending to disk once a second."""
    folder = home.folder / "redis"
    options = {
        "port": str(ports["redis"]),
        "bind": "127.0.0.1",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
    }
    argv = [str(binary)]
    for name, value in options.items():
        argv += [f"--{name}", value]
    return Component(
        name="redis",
        kind="part",
        command=Command(tuple(argv), {}, home.folder, home.logs / "redis.log"),
        ready=lambda: probes.redis_answers("127.0.0.1", ports["redis"]),
        before_start=lambda: folder.mkdir(mode=0o700, exist_ok=True),
    )
