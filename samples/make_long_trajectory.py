"""Print the record `sample-long-01`: one night of an alert-triage agent, more than 200 steps long.

Needs the standard library only and always prints the same line:

    python samples/make_long_trajectory.py > long.jsonl

The parcel network, its services and all log lines are invented. The agent slips now and then, as
agents do: `SLIPS` says at which alert and how. Most slips are corrected later, one never is.
"""

import json
import random
import sys
from dataclasses import dataclass, field
from typing import Any

N_ALERTS = 45
SLIPS = {
    4: "wrong_service",
    9: "severity_as_word",
    13: "blames_release",  # comes back at alert 16
    16: "comes_back",
    20: "short_window",  # the supervisor complains after alert 24
    27: "repeats_search",
    31: "acts_first",
    36: "wrong_service",
    40: "stale_alert_id",
    43: "severity_too_low",  # never noticed
}
SYSTEM = (
    "You are the night desk of the Quillmere parcel network. Work through the alert queue one alert at a time.\n"
    "Runbook:\n"
    "1. Read the service's logs before you act; an action without a log search on that alert is refused.\n"
    "2. Choose the action that fits the cause. Restarting or rolling back 'to be safe' is not allowed.\n"
    "3. Close the alert with a cause in plain words and a severity from 1 to 4: 1 parcels are lost or misrouted, "
    "2 customers or depots are cut off, 3 slower than promised, 4 nobody notices.\n"
    "4. Look back at least 60 minutes in the logs before you call something noise.\n"
    "5. At the end write a handover: how many alerts, what was done, what is left for the day shift."
)


@dataclass(frozen=True)
class Kind:
    services: tuple[str, ...]
    title: str
    logs: tuple[str, ...]
    check: str
    cause: str
    action: str
    severity: int
    readings: tuple[str, ...]


KINDS = (
    Kind(
        ("label-spool", "route-archive", "scan-buffer", "photo-store", "receipt-archive"),
        "disk {q} % full",
        (
            "WARN  write to /var/{s} took {ms} ms",
            "ERROR cannot rotate {s}.log: no space left on device",
            "INFO  retention run skipped: lock held by pid {pid}",
        ),
        "disk /var {q} % used, mostly rotated logs; retention.lock is 3 days old, pid {pid} does not exist",
        "the retention run is stuck behind a stale lock",
        "clear_stale_lock",
        3,
        (
            "The disk is full because nothing is being deleted: retention skips every run over a lock of pid {pid}.",
            "Space is only the symptom. The retention run has refused to start since pid {pid} took its lock.",
        ),
    ),
    Kind(
        ("partner-gateway", "depot-tunnel", "customs-link", "locker-bridge", "invoice-exchange"),
        "{n} failed TLS handshakes in 5 min",
        (
            "ERROR handshake with depot-{d}: certificate has expired",
            "WARN  peer depot-{d} retries in {ms} ms",
            "ERROR handshake with depot-{d}: certificate has expired",
        ),
        "up; {n} rejected peers; leaf certificate serial 4f{pid} not renewed, renewal hook last ran 91 days ago",
        "the certificate expired and the renewal hook never ran",
        "rotate_certificate",
        2,
        (
            "Plain expiry: depot-{d} is turned away with 'certificate has expired', so the depot is cut off.",
            "No network fault here. The peer answers; it is our certificate that ran out.",
        ),
    ),
    Kind(
        ("sort-queue", "address-check", "return-intake", "label-queue", "notice-queue"),
        "queue depth {n}00 and rising",
        (
            "WARN  consumer 3 stopped at message m-{pid}: cannot parse postcode field",
            "INFO  consumer 3 restarts at message m-{pid}",
            "WARN  consumer 3 stopped at message m-{pid}: cannot parse postcode field",
        ),
        "4 consumers, 3 busy; partition 3 has not moved for {p} min",
        "one unreadable message blocks a partition",
        "park_message",
        3,
        (
            "Consumer 3 dies on the same message m-{pid} each time; the other partitions move.",
            "It is a single poison message, m-{pid}. More consumers would not help, parking it will.",
        ),
    ),
    Kind(
        ("tariff-engine", "eta-model", "route-planner", "zone-lookup", "price-preview"),
        "memory at {q} %",
        (
            "INFO  heap after full collection 3.{d} GB (same hour yesterday 1.1 GB)",
            "WARN  collection pause {ms} ms",
            "INFO  zone cache holds {n}0 entries, limit not set",
        ),
        "release 8.{d} went live 6 h ago; change list: 'zone cache without limit'; memory up 0.4 GB per hour since",
        "the new release keeps every zone in memory",
        "roll_back_release",
        3,
        (
            "Memory stays high after a full collection, so this is held memory, and the zone cache has no limit.",
            "The growth is real: three times yesterday's heap, and a cache that never forgets.",
        ),
    ),
    Kind(
        ("checkout-api", "claims-portal", "pickup-form", "tracking-page", "address-book"),
        "slowest 1 % of requests take {ms} ms",
        (
            "WARN  call to geocoder took {ms} ms (limit 8000 ms)",
            "INFO  request r-{pid} answered after 3 tries",
            "WARN  call to geocoder took {ms} ms (limit 8000 ms)",
        ),
        "processor 21 %, memory 40 %, no release for 9 days; waiting on geocoder in {p} % of slow requests",
        "the geocoder is slow and every request waits for it",
        "open_circuit_breaker",
        3,
        (
            "The service itself is idle; the time is spent waiting for the geocoder.",
            "Every slow request has the same line before it, a geocoder call of about {ms} ms.",
        ),
    ),
    Kind(
        ("scale-hub-2", "sorter-plc-5", "gate-reader-1", "scale-hub-6", "belt-counter-3"),
        "events dated in the future",
        (
            "WARN  clock is +{p}.2 s against ntp-2",
            "INFO  time service has been stopped since the power test",
            "WARN  {n} events rejected: time stamp ahead of receiver",
        ),
        "time service stopped; offset +{p}.4 s and growing",
        "the clock drifts since its time service was stopped",
        "resync_clock",
        3,
        (
            "The events are fine, the clock is not: +{p} s since the power test stopped the time service.",
            "A steady offset against ntp-2 and a stopped time service explain the dates.",
        ),
    ),
    Kind(
        ("invoice-batch", "pickup-planner", "tariff-export", "route-night-run", "claims-digest"),
        "the same run started twice",
        (
            "INFO  run {pid} started by scheduler-a",
            "INFO  run {pid} started by scheduler-b",
            "ERROR {n} rows exist already, second run stopped",
        ),
        "leader: scheduler-a says yes, scheduler-b says yes; last lease change {p} min ago",
        "two schedulers both believe to be leader",
        "fence_second_leader",
        2,
        (
            "Run {pid} was started by both schedulers, so the leader lease is held twice.",
            "Nothing is wrong with the run. Two leaders start everything twice.",
        ),
    ),
    Kind(
        ("mail-relay", "depot-sync", "map-tiles", "print-server", "courier-feed"),
        "{p} failed name look-ups",
        (
            "ERROR look-up of sync.north.internal: no such host (resolver 10.4.0.{d})",
            "INFO  look-up of sync.north.internal: ok (resolver 10.4.0.2)",
            "ERROR look-up of sync.north.internal: no such host (resolver 10.4.0.{d})",
        ),
        "two resolvers configured; 10.4.0.{d} serves zone serial 1{pid}, the other one is newer",
        "one resolver serves an old copy of the zone",
        "remove_resolver",
        2,
        (
            "Only 10.4.0.{d} says 'no such host'; the other resolver answers every time.",
            "Half of the look-ups fail, and all failures come from resolver 10.4.0.{d}.",
        ),
    ),
    Kind(
        ("cold-room-3", "dock-camera-7", "yard-gate-2", "cold-room-9", "ramp-sensor-4"),
        "no reading any more",
        (
            "WARN  battery 3 %",
            "INFO  last frame received, sequence {pid}",
            "WARN  battery 2 %, radio reduced",
        ),
        "nothing since the last frame, battery 2 % at that time, neighbours on the same radio are fine",
        "the sensor's battery is empty",
        "order_field_visit",
        4,
        (
            "Battery 3 %, then 2 %, then silence. The radio of the neighbours is fine.",
            "It reported a nearly empty battery before it went quiet, so someone has to walk there.",
        ),
    ),
    Kind(
        ("probe-south", "canary-shop", "probe-harbour", "canary-locker", "probe-east"),
        "probe failed",
        (
            "INFO  maintenance window 'switch firmware south' begins",
            "WARN  probe timeout, try 1 of 3",
            "INFO  probe ok, try 2 of 3",
        ),
        "up; 1 failed probe of 240 tonight",
        "a single probe failed inside a maintenance window",
        "none",
        4,
        (
            "One timeout inside an announced maintenance window, the second try was fine.",
            "Over the full hour there is exactly one failed probe, and the window explains it.",
        ),
    ),
    Kind(
        ("driver-login", "depot-login", "locker-login", "partner-login", "claims-login"),
        "{p} % of sign-ins refused",
        (
            "WARN  token refused: signed with key k-04, accepted keys: k-05",
            "INFO  key k-04 retired by the monthly rotation",
            "WARN  token refused: signed with key k-04, accepted keys: k-05",
        ),
        "up; refused tokens are all older than {p} min; new sign-ins work",
        "key k-04 was retired while its tokens were still in use",
        "reinstate_key",
        2,
        (
            "New tokens work, old ones do not: the rotation dropped k-04 too early.",
            "All refusals name key k-04, retired before the tokens it signed ran out.",
        ),
    ),
    Kind(
        ("ledger-db", "parcel-db", "tariff-db", "locker-db", "claims-db"),
        "{n} lock waits",
        (
            "WARN  transaction waits {p} s for a row lock of session {pid}",
            "INFO  session {pid}: idle in transaction, opened by 'maintenance shell'",
            "WARN  transaction waits {p} s for a row lock of session {pid}",
        ),
        "session {pid} idle in transaction for 2 h, holds 14 row locks, nobody is signed in on that shell",
        "a forgotten maintenance session holds row locks",
        "end_session",
        2,
        (
            "All waits point at session {pid}, which is idle in an open transaction.",
            "Somebody left a maintenance shell open: session {pid} holds the locks and does nothing.",
        ),
    ),
)
NOISE = (
    "INFO  health check answered in 4 ms",
    "INFO  configuration read, 0 changes",
    "DEBUG heartbeat to desk sent",
    "INFO  metrics flushed, 212 points",
    "INFO  nightly statistics queued",
    "DEBUG connection pool 6 of 20 in use",
    "INFO  log level stays at info",
    "DEBUG 3 idle workers sent home",
    "INFO  snapshot written, 18 MB",
    "INFO  feature list read, 41 entries",
    "DEBUG cache hit rate 0.93",
    "WARN  slow disk flush, 310 ms",
)
FETCHES = (
    "Next one, please.",
    "That is settled; I take the next alert.",
    "On to the next alert in the queue.",
    "Queue again.",
    "Fetching the next alert.",
    None,
    "Let me see what else is waiting.",
)
LOOKS = (
    "{service} reports '{title}'. I read its logs of the last {w} minutes first.",
    "Before I touch {service} I want to see what it wrote in the last {w} minutes.",
    "'{title}' can have several reasons. Logs of {service}, {w} minutes back.",
    "Logs first, as the runbook asks: {service}, {w} minutes.",
    "I start with {service} itself and look back {w} minutes.",
    None,
)
CHECKS = (
    "{reading} I check the state of the service before I act on that.",
    "{reading} The status should confirm it.",
    "{reading} One look at the status to be sure.",
    "{reading} If that is right, the status page shows it too.",
)
ACTS = (
    "Confirmed: {cause}. The fitting action is {action}.",
    "So {cause}; I run {action} on {service}.",
    "The evidence agrees that {cause}. Applying {action}.",
    "That leaves {action}: {cause}.",
)
CLOSES = (
    "{action} went through. Closing with severity {severity}.",
    "Done; I close the alert and note that {cause}.",
    "The action is accepted, so the alert can be closed at severity {severity}.",
    "Closing: {cause}, severity {severity}.",
)
TOOLS = (
    ("next_alert", "Take the oldest open alert.", {}),
    (
        "search_logs",
        "Log lines of one service, newest last.",
        {"alert_id": "string", "service": "string", "since_minutes": "integer", "pattern": "string"},
    ),
    ("service_status", "Current state of one service.", {"service": "string"}),
    (
        "apply_action",
        "Apply one runbook action.",
        {"alert_id": "string", "service": "string", "action": "string"},
    ),
    ("close_alert", "Close an alert.", {"alert_id": "string", "cause": "string", "severity": "integer"}),
    ("reopen_alert", "Open a closed alert again.", {"alert_id": "string", "reason": "string"}),
    ("count_alerts", "Count tonight's alerts by state.", {}),
)


def schema(name: str, description: str, properties: dict[str, str]) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


@dataclass
class Night:
    rng: random.Random
    messages: list[dict[str, Any]] = field(default_factory=list)
    minute: int = 22 * 60
    seen: set[str] = field(default_factory=set)
    n_calls: int = 0

    def clock(self, minute: int | None = None) -> str:
        at = self.minute if minute is None else minute
        return f"{at // 60 % 24:02d}:{at % 60:02d}"

    def say(self, role: str, text: str) -> None:
        self.messages.append({"role": role, "content": text})

    def call(self, text: str | None, name: str, result: str, **arguments: Any) -> None:
        self.n_calls += 1
        call_id = f"call_n{self.n_calls:03d}"
        function = {"name": name, "arguments": json.dumps(arguments)}
        calls = [{"id": call_id, "type": "function", "function": function}]
        self.messages.append({"role": "assistant", "content": text, "tool_calls": calls})
        self.messages.append({"role": "tool", "tool_call_id": call_id, "name": name, "content": result})


@dataclass
class Alert:
    """One alert with its numbers drawn, and the agent's moves on it."""

    night: Night
    number: int
    kind: Kind
    service: str
    numbers: dict[str, Any]
    raised: int

    @property
    def id(self) -> str:
        return f"A-{700 + self.number}"

    def text(self, template: str | None, **more: Any) -> str | None:
        if template is None:
            return None
        words = {"service": self.service, "cause": self.kind.cause, "action": self.kind.action, **self.numbers, **more}
        return template.format(**{"title": self.kind.title.format(**self.numbers), "s": self.service, **words})

    def pick(self, templates: tuple[str | None, ...], **more: Any) -> str | None:
        return self.text(self.night.rng.choice(templates), **more)

    def fetch(self, suffix: str = "") -> None:
        alert = {
            "alert_id": self.id,
            "time": self.night.clock(),
            "service": self.service,
            "title": self.text(self.kind.title),
        }
        self.night.call(self.night.rng.choice(FETCHES), "next_alert", json.dumps(alert) + suffix)

    def log_lines(self) -> str:
        rng, lines = self.night.rng, [self.text(line) for line in self.kind.logs]
        for noise in rng.sample(NOISE, rng.randint(2, 5)):
            lines.insert(rng.randint(0, len(lines)), noise)
        minutes = sorted(rng.sample(range(1, 55), len(lines)), reverse=True)
        return "\n".join(
            f"{self.night.clock(self.night.minute - ago)} {line}" for ago, line in zip(minutes, lines, strict=True)
        )

    def search(self, text: str | None, result: str | None = None, service: str = "", window: int = 60) -> None:
        arguments = {"alert_id": self.id, "service": service or self.service, "since_minutes": window, "pattern": "*"}
        found = self.log_lines() if result is None else result
        self.night.call(text, "search_logs", found, **arguments)

    def check(self, text: str | None) -> None:
        self.night.call(text, "service_status", str(self.text(self.kind.check)), service=self.service)

    def act(self, text: str | None, action: str = "", result: str = "accepted") -> None:
        arguments = {"alert_id": self.id, "service": self.service, "action": action or self.kind.action}
        self.night.call(text, "apply_action", result, **arguments)

    def close(self, text: str | None, severity: Any = None, cause: str = "", result: str = "closed") -> None:
        arguments = {"cause": cause or self.kind.cause, "severity": severity or self.kind.severity}
        self.night.call(text, "close_alert", result, alert_id=self.id, **arguments)

    def finish(self) -> None:
        """The usual end: check most of the time, act where there is something to do, close."""
        reading = self.pick(self.kind.readings)
        if self.night.rng.random() < 0.72:
            self.check(self.pick(CHECKS, reading=reading))
            reading = None
        if self.kind.action != "none":
            self.act(reading or self.pick(ACTS))
            self.close(self.pick(CLOSES, severity=self.kind.severity))
        else:
            self.close("Nothing to do here: the hour of logs shows one failed probe. Closing as noise, severity 4.")


def look(alert: Alert) -> None:
    window = alert.night.rng.choice((60, 60, 90, 120))
    alert.search(alert.pick(LOOKS, w=window), window=window)


def wrong_service(alert: Alert) -> None:
    other = alert.night.rng.choice([kind.services[0] for kind in KINDS if alert.service not in kind.services])
    quiet = f"{alert.night.clock(alert.night.minute - 31)} {NOISE[0]}\n{alert.night.clock()} {NOISE[3]}"
    alert.search(f"I read the logs of {other}, which should be where this comes from.", quiet, service=other)
    alert.search(f"That was the wrong service: the alert is about {alert.service}, not {other}. I read the right logs.")
    alert.finish()


def severity_as_word(alert: Alert) -> None:
    look(alert)
    alert.check(alert.pick(CHECKS, reading=alert.pick(alert.kind.readings)))
    alert.act(alert.pick(ACTS))
    refusal = "error: severity: expected an integer from 1 to 4, got 'medium'"
    alert.close("Fixed. Closing it as medium.", severity="medium", result=refusal)
    alert.close(f"Severity has to be a number. By the runbook's scale this is {alert.kind.severity}; closing again.")


def blames_release(alert: Alert) -> None:
    look(alert)
    alert.act(
        "Slow requests usually mean that a release went wrong. I roll it back.",
        action="roll_back_release",
        result="accepted: rolled back from 5.3 (9 days old) to 5.2",
    )
    alert.close("Rolled back, that will have cured it. Closing.", cause="the last release made requests slow")


def comes_back(alert: Alert, earlier: Alert) -> None:
    alert.fetch(
        f"\nnote: same service and title as {earlier.id}, which was raised at {alert.night.clock(earlier.raised)}"
    )
    alert.search(f"The same alert again, so my rollback on {earlier.id} did not cure it. I read the logs properly now.")
    alert.check(
        "Every slow request waits for the geocoder. I had read past that line and blamed a release that was nine days "
        "old. The status should tell the two apart."
    )
    reason = "closed with the wrong cause; the rollback was not called for"
    alert.night.call(
        f"That settles it: no fresh release, the waiting is on the geocoder. I open {earlier.id} again to correct it.",
        "reopen_alert",
        "reopened",
        alert_id=earlier.id,
        reason=reason,
    )
    earlier.act("The breaker keeps requests from waiting for the geocoder; applying it under the first alert.")
    alert.act("And the release that I took back for nothing has to go live again.", "restore_release", "accepted: 5.3")
    earlier.close(f"Closing {earlier.id} with the true cause.")
    alert.close(f"Closing {alert.id} as well, same cause.")


def short_window(alert: Alert) -> None:
    quiet = f"{alert.night.clock(alert.night.minute - 3)} {NOISE[0]}\n{alert.night.clock()} {NOISE[5]}"
    alert.search("A quick look, five minutes should be enough.", quiet, window=5)
    alert.close("Nothing in the logs. Closing as noise.", severity=4, cause="noise, nothing in the logs")


def supervisor(alert: Alert) -> None:
    night = alert.night
    night.say("user", f"Supervisor here. {alert.service} still misbehaves, you closed {alert.id} as noise. Why?")
    night.call(
        "I looked back five minutes only, where the runbook asks for sixty. I open the alert again and read the hour.",
        "reopen_alert",
        "reopened",
        alert_id=alert.id,
        reason="closed as noise after a search of five minutes",
    )
    alert.search(f"Sixty minutes of {alert.service} this time.")
    alert.check(alert.pick(CHECKS, reading=alert.pick(alert.kind.readings)))
    alert.act(alert.pick(ACTS))
    alert.close(f"Closing {alert.id} with its real cause and severity {alert.kind.severity}.")
    night.say(
        "assistant",
        f"{alert.id} was not noise: {alert.kind.cause}. I applied {alert.kind.action} and corrected the entry. "
        "I keep to sixty minutes from here on.",
    )
    night.say("user", "Good. Carry on with the queue.")


def repeats_search(alert: Alert) -> None:
    lines = alert.log_lines()
    alert.search(alert.pick(LOOKS, w=60), lines)
    alert.search("Let me run that search once more.", lines)
    alert.finish()


def acts_first(alert: Alert) -> None:
    refusal = f"refused: no log search on {alert.id} yet (runbook 1)"
    alert.act(f"I know this one. {alert.kind.action} right away.", result=refusal)
    alert.search("Refused, and rightly so. I read the logs before I act.")
    alert.finish()


def stale_alert_id(alert: Alert) -> None:
    look(alert)
    alert.check(alert.pick(CHECKS, reading=alert.pick(alert.kind.readings)))
    stale = f"A-{700 + alert.number - 1}"
    arguments = {"alert_id": stale, "service": alert.service, "action": alert.kind.action}
    alert.night.call(alert.pick(ACTS), "apply_action", f"error: {stale} is closed", **arguments)
    alert.act(f"I used the id of the alert before. The action belongs to {alert.id}.")
    alert.close(alert.pick(CLOSES, severity=alert.kind.severity))


def severity_too_low(alert: Alert) -> None:
    look(alert)
    alert.check(alert.pick(CHECKS, reading=alert.pick(alert.kind.readings)))
    alert.act(alert.pick(ACTS))
    alert.close("Repaired before anyone called, so severity 4.", severity=4)


SLIP_MOVES = {
    move.__name__: move
    for move in (
        wrong_service,
        severity_as_word,
        blames_release,
        short_window,
        repeats_search,
        acts_first,
        stale_alert_id,
        severity_too_low,
    )
}


def draw_alert(night: Night, number: int, order: list[int]) -> Alert:
    rng = night.rng
    pinned = {13: 4, 20: 6, 43: 1}  # slips that fit one kind only
    kind = KINDS[pinned.get(number, order[number % len(order)])]
    if kind.action == "none" and number in SLIPS:
        kind = KINDS[7]
    numbers = {
        "p": rng.randint(31, 88),
        "q": rng.randint(92, 99),
        "ms": rng.randint(8100, 9900),
        "n": rng.randint(110, 480),
        "d": rng.randint(3, 9),
        "pid": rng.randint(2100, 9800),
    }
    service = next(name for name in kind.services if name not in night.seen)
    night.seen.add(service)
    return Alert(night, number, kind, service, numbers, night.minute)


def hand_over(night: Night) -> None:
    night.say("user", "06:00, the day shift is here. Your handover, please.")
    night.say(
        "assistant",
        f"Handover: {N_ALERTS - 1} alerts, all closed. One rollback was undone, one alert closed as noise had to be "
        "opened again. Left for the day shift: the field visits, and a renewal hook for certificates.",
    )
    night.say("user", f"I count {N_ALERTS} in the list. Can you check?")
    counts = json.dumps({"closed": N_ALERTS, "open": 0, "reopened_tonight": 2})
    night.call("I gave the number from memory. Counting in the system.", "count_alerts", counts)
    night.say(
        "assistant",
        f"You are right, it was {N_ALERTS} alerts, not {N_ALERTS - 1}. All are closed; two were opened again during "
        "the night and corrected. The rest of the handover stands.",
    )


def main() -> None:
    night = Night(random.Random(20310514))
    night.say("system", SYSTEM)
    night.say("user", "22:00, night shift. The queue is yours; work through it until six and then hand over.")
    order: list[int] = []
    alerts: list[Alert] = []
    for number in range(N_ALERTS):
        if number % len(KINDS) == 0:
            order = night.rng.sample(range(len(KINDS)), len(KINDS))
        slip = SLIPS.get(number)
        if slip == "comes_back":
            earlier = alerts[13]
            alert = Alert(night, number, earlier.kind, earlier.service, earlier.numbers, night.minute)
            comes_back(alert, earlier)
        else:
            alert = draw_alert(night, number, order)
            alert.fetch()
            if slip:
                SLIP_MOVES[slip](alert)
            else:
                look(alert)
                alert.finish()
        alerts.append(alert)
        night.minute += night.rng.randint(9, 11)
        if number == 24:
            supervisor(alerts[20])
    night.minute = 5 * 60 + 48
    night.call("Is there anything left?", "next_alert", json.dumps({"queue": "empty", "time": night.clock()}))
    night.say("assistant", "The queue is empty. I watch it until the day shift arrives at six.")
    hand_over(night)
    record = {
        "id": "sample-long-01",
        "question": "Work through the night's alert queue of the Quillmere parcel network and hand over at six.",
        "group_key": "quillmere-night-desk",
        "domain": "operations",
        "messages": night.messages,
        "tools": [schema(*tool) for tool in TOOLS],
        "reference": f"{N_ALERTS} alerts closed, each with its true cause and a severity by the runbook's scale.",
        "outcome": 0.0,
    }
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
