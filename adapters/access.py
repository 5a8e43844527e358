"""Access rules as the brokers hold them: those of our accounts are made equal to the wanted ones; others are left."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from adapters.settings import Settings
from adapters.topics_admin import admin
from schemas.access import Rule
from schemas.errors import BrokerUnavailable, Conflict

OPERATIONS = {
    "Read": ACLOperation.READ,
    "Write": ACLOperation.WRITE,
    "Describe": ACLOperation.DESCRIBE,
    "DescribeConfigs": ACLOperation.DESCRIBE_CONFIGS,
}
PATTERNS = {"literal": ACLResourcePatternType.LITERAL, "prefixed": ACLResourcePatternType.PREFIXED}
RESOURCES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP}
USER = "User:"
KNOWN_DEADLINE_S = 10.0
KNOWN_PAUSE_S = 0.1

Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """How many permissions were given and taken away."""

    added: int
    removed: int


def ensure_access(settings: Settings, rules: Iterable[Rule], accounts: Iterable[str]) -> Changed:
    """Gives what is missing and takes away what `rules` no longer say, for these accounts.

    Given before taken away, so that nobody is refused in between. Raises Conflict when the brokers have no authorizer
    or this account may not change rules.
    """
    wanted = {_acl_key(acl): acl for acl in map(_acl, rules)}
    names = {USER + account for account in accounts}
    with admin(settings.kafka) as client:
        present = {_acl_key(acl): acl for acl in _present(client) if acl.principal in names}
        missing = [acl for key, acl in wanted.items() if key not in present]
        stale = [acl for key, acl in present.items() if key not in wanted]
        if missing and (failed := client.create_acls(missing)["failed"]):
            raise Conflict(f"Kafka refused {len(failed)} access rules")
        if stale:
            client.delete_acls(stale)
        _wait_until_known(client, {_acl_key(acl) for acl in missing}, {_acl_key(acl) for acl in stale})
    return Changed(len(missing), len(stale))


def _wait_until_known(client: KafkaAdminClient, given: set[Key], taken: set[Key]) -> None:
    # The controller has them at once, the broker that enforces them some milliseconds later.
    give_up = time.monotonic() + KNOWN_DEADLINE_S
    while True:
        present = {_acl_key(acl) for acl in _present(client)}
        if given <= present and not taken & present:
            return
        if time.monotonic() > give_up:
            raise BrokerUnavailable("changed access rules did not become known")
        time.sleep(KNOWN_PAUSE_S)


def _present(client: KafkaAdminClient) -> list[ACL]:
    anything = ACLFilter(
        principal=None,
        host=None,
        operation=ACLOperation.ANY,
        permission_type=ACLPermissionType.ANY,
        resource_pattern=ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY),
    )
    found, error = client.describe_acls(anything)
    if getattr(error, "errno", 0):
        raise Conflict(f"Kafka does not show its access rules ({error.__name__})")
    return list(found)


def _acl(rule: Rule) -> ACL:
    place = ResourcePattern(RESOURCES[rule.resource], rule.name, PATTERNS[rule.pattern])
    return ACL(
        principal=USER + rule.principal,
        host="*",
        operation=OPERATIONS[rule.operation],
        permission_type=ACLPermissionType.ALLOW,
        resource_pattern=place,
    )


def _acl_key(acl: ACL) -> Key:
    place = acl.resource_pattern
    return (
        acl.principal,
        acl.host,
        int(acl.operation),
        int(acl.permission_type),
        int(place.resource_type),
        place.resource_name,
        int(place.pattern_type),
    )
