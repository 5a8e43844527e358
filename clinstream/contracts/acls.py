"""Access rules as text for Kafka's own tools, and the broker settings that make them binding; nothing is applied."""

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from schemas.access import ADMIN, Rule

FLAGS = {"literal": (), "prefixed": ("--resource-pattern-type", "prefixed")}
CONTROLLER = "CONTROLLER"
MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"


def lines(rules: Iterable[Rule]) -> Iterator[str]:
    """One `kafka-acls.sh` command for each account and resource, for a shell where BOOTSTRAP and ADMIN are set."""
    ordered = sorted(rules)
    for (principal, resource, name, pattern), group in groupby(
        ordered, lambda rule: (rule.principal, rule.resource, rule.name, rule.pattern)
    ):
        operations = [word for rule in group for word in ("--operation", rule.operation)]
        words = ["--add", "--allow-principal", f"User:{principal}", *operations, f"--{resource}", name]
        words += FLAGS[pattern]
        yield 'kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --command-config "$ADMIN" ' + shlex.join(words)


def broker_properties(passwords: Mapping[str, str], clients: Sequence[str] = ("CLIENTS",)) -> dict[str, str]:
    """What a broker needs beside its usual settings: accounts by SASL/PLAIN on every listener, and the authorizer.

    `passwords` by account, the administrator's included, who alone is above the rules. The listeners are `clients`,
    the first of them between brokers too, and CONTROLLER; put TLS under them (SASL_SSL) wherever they leave one
    machine's own network.
    """
    listeners = (*clients, CONTROLLER)
    users = " ".join(f'user_{account}="{password}"' for account, password in passwords.items())
    own = f'username="{ADMIN}" password="{passwords[ADMIN]}"'
    jaas = f"{MODULE} required {own} {users};"
    return {
        "listener.security.protocol.map": ",".join(f"{name}:SASL_PLAINTEXT" for name in listeners),
        "inter.broker.listener.name": clients[0],
        "controller.listener.names": CONTROLLER,
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "sasl.mechanism.controller.protocol": "PLAIN",
        **{f"listener.name.{name.lower()}.plain.sasl.jaas.config": jaas for name in listeners},
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{ADMIN}",
        "allow.everyone.if.no.acl.found": "false",
    }
