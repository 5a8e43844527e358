"""`clinstream contract`: what outsiders may rely on, printed, written or played; made in `clinstream.contracts`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

app = typer.Typer(
    help="The published contracts: schemas, documents, access rules, golden events.", no_args_is_help=True
)

# The rest is imported on use, as every other command would wait for it.

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


@app.command()
def schemas(
    write: Annotated[bool, typer.Option("--write", help="Write golden schemas of compatible additions.")] = False,
    as_json: AsJson = False,
) -> None:
    """Hold every event against its golden JSON Schema; exit 1 when one is broken or not written yet.

    Example: clinstream contract schemas --write
    """
    from clinstream import contracts

    if write:
        contracts.write()
    verdicts = contracts.judge()
    if as_json:
        print(json.dumps([{"event": v.event, "state": v.state, "breaks": list(v.breaks)} for v in verdicts]))
    else:
        table = Table("event", "state", "what breaks")
        for verdict in verdicts:
            table.add_row(verdict.event, verdict.state, "; ".join(verdict.breaks))
        Console().print(table)
    raise typer.Exit(0 if all(v.state == "same" for v in verdicts) else 1)


@app.command()
def asyncapi(
    side: Annotated[Literal["system", "subscriber"], typer.Option(help="Whose view.")] = "subscriber",
    write: Annotated[bool, typer.Option("--write", help="Write both documents into docs/asyncapi/.")] = False,
) -> None:
    """Print the AsyncAPI 3.0 document of one side, for the models installed here.

    Example: clinstream contract asyncapi --side subscriber > subscriber.json
    """
    import triton_models
    from clinstream.contracts import asyncapi as documents

    tasks = list(triton_models.discover())
    if write:
        for each in documents.SIDES:
            print(documents.write(each, tasks))
    else:
        print(documents.render(side, tasks), end="")


@app.command()
def acls(as_json: AsJson = False) -> None:
    """Print the access rules of every service, operator and subscriber as commands for Kafka's own tool.

    Example: clinstream contract acls | BOOTSTRAP=broker:9092 ADMIN=admin.properties sh
    """
    import triton_models
    from clinstream.contracts import acls as text
    from schemas import access

    found = access.rules(triton_models.discover())
    if as_json:
        print(json.dumps([asdict(rule) for rule in found]))
    else:
        print("\n".join(text.lines(found)))


@app.command()
def play(
    task: Annotated[str, typer.Option(help="What the events are about: a model's name.")] = "chest_xray",
    bootstrap: Annotated[str, typer.Option(help="host:port of a broker; else the running stack's.")] = "",
    topic: Annotated[str, typer.Option(help="Where to send; else simulated.<task>.")] = "",
    seed: Annotated[int, typer.Option(help="Another number: other subjects, another order.")] = 0,
    create: Annotated[bool, typer.Option("--create", help="Make the topic when it is missing.")] = False,
    expect: Annotated[
        bool, typer.Option("--expect", help="Print the state that a right subscriber ends with.")
    ] = False,
    dry: Annotated[bool, typer.Option("--dry", help="Send nothing.")] = False,
) -> None:
    """Send golden events that a subscriber must cope with: repeats, revisions, amendments, withdrawals, new fields.

    Example: clinstream contract play --bootstrap 127.0.0.1:9092 --topic ward.test --create --expect
    """
    from clinstream import catalogue
    from clinstream.contracts import play as theatre
    from clinstream.contracts import stage

    labels = catalogue.find(task).card.labels
    target = topic or f"simulated.{task}"
    made = theatre.script(task, seed, labels=(labels[-1], labels[0]), simulated=not target.startswith("results."))
    if not dry:
        sent = stage.perform(made, bootstrap=bootstrap, topic=target, create=create)
        Console(stderr=True, highlight=False).print(f"{sent} deliveries of {len(made.final)} results sent to {target}.")
    if expect:
        print(json.dumps(made.final, indent=2, sort_keys=True))


@app.command()
def containers(
    write: Annotated[bool, typer.Option("--write", help="Rewrite docker-compose.yml and grafana/prometheus/.")] = False,
) -> None:
    """What docker-compose.yml and Prometheus take from the process table; exit 1 when the files are not up to date.

    Example: clinstream contract containers --write
    """
    from adapters import settings
    from clinstream import processes
    from clinstream.contracts import compose, scrape

    rows = processes.every(settings.load())
    if write:
        compose.write(rows)
        scrape.FILE.write_text(scrape.render(rows), encoding="utf-8")
    wanted = {
        compose.FILE: compose.render(rows, compose.FILE.read_text(encoding="utf-8")),
        scrape.FILE: scrape.render(rows),
    }
    stale = [path for path, text in wanted.items() if path.read_text(encoding="utf-8") != text]
    for path in wanted:
        print(f"{path}: {'not up to date; add --write' if path in stale else 'up to date'}")
    raise typer.Exit(1 if stale else 0)


@app.command()
def secrets(
    path: Annotated[Path, typer.Argument(help="The file to make; docker compose reads `.env`.")] = Path(".env"),
) -> None:
    """Make the file of random passwords that docker-compose.yml asks for; one that is there is only completed.

    Example: clinstream contract secrets
    """
    from clinstream.contracts import compose

    added = compose.complete(path)
    print(f"{path}: {len(added)} passwords added" if added else f"{path}: nothing to add")


def register(main: typer.Typer) -> None:
    """Adds the group."""
    main.add_typer(app, name="contract")
