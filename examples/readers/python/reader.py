"""Keeps a copy of the quickstart's orders in a SQLite file, made from the topic alone.

    reader.py COPY TOPIC [--until-idle]

It follows the topic until it is stopped; with --until-idle until it has read
what is there, and then prints the copy. The broker is taken from
RUNNEL_PULSAR_URL and RUNNEL_PULSAR_ADMIN_URL, the files of a token and of the
authorities to trust, where there are any, from RUNNEL_PULSAR_TOKEN_FILE and
RUNNEL_PULSAR_CA_FILE.

However it ends, it may be started again: each event counts once, because the
rows and the position that they reach commit in one transaction.
"""

import io
import json
import logging
import os
import re
import sqlite3
import ssl
import sys
import time
import urllib.request

import fastavro
import pulsar

BATCH = 100  # events in a transaction, at most
ARRIVAL = 30_000  # milliseconds that a message which is there may take to arrive


class Stop(Exception):
    """What a person must look at. The copy is right up to its position."""


# --- The copy: a table and a handler for each event type. Yours differ. -------
#
# A field that has a default may be gone in a later version of the schema: it is asked
# for with its default. Others are there in every version.

ORDERS = """create table if not exists orders (
    id          text    primary key,
    customer_id text    not null,
    status      text    not null,
    lines       integer not null,
    total       text    not null,
    currency    text    not null,
    city        text,
    paid_by     text,
    carrier     text,
    tracking    text,
    reason      text
)"""


def placed(db, o):
    ship_to = o.get("ship_to")
    city = ship_to and ship_to["city"]
    db.execute("insert into orders (id, customer_id, status, lines, total, currency, city) values (?, ?, 'placed', ?, ?, ?, ?)",
               (o["order_id"], str(o["customer_id"]), len(o["lines"]), str(o["total"]), o.get("currency", "EUR"), city))


def paid(db, o):
    change(db, "update orders set status = 'paid', paid_by = ? where id = ?", o["method"], o["order_id"])


def shipped(db, o):
    change(db, "update orders set status = 'shipped', carrier = ?, tracking = ? where id = ?",
           o["carrier"], o.get("tracking"), o["order_id"])


def cancelled(db, o):
    change(db, "update orders set status = 'cancelled', reason = ? where id = ?", o["reason"], o["order_id"])


def change(db, sql, *values):
    """Events of one order come in order, so its OrderPlaced was here before."""
    if db.execute(sql, values).rowcount != 1:
        raise Stop(f"the order {values[-1]} is not there")


HANDLERS = {
    "OrderPlaced": placed,
    "OrderPaid": paid,
    "OrderShipped": shipped,
    "OrderCancelled": cancelled,
}


# --- The reader: positions, schemas and the loop. Take it as it is. -----------

POSITIONS = """create table if not exists position (
    partition  text    primary key,
    position   text    not null,
    ordinal    integer not null,
    message_id blob    not null
)"""
COUNTS = "create table if not exists counted (what text primary key, n integer not null)"
STAMP = re.compile("([0-9a-f]{8}-[0-9a-f]{16}-[0-9a-f]{8})-([0-9a-f]{16})")


def stamp_of(message):
    """Returns a message's position, a text that sorts as positions do, and its ordinal in the partition."""
    found = STAMP.fullmatch(message.properties().get("position", ""))
    if not found:
        raise Stop(f"message {message.message_id()} has no position: Runnel did not publish it")
    return found[1], int(found[2], 16)


def is_new(stored, stamp):
    """The gate. Positions rise, and ordinals are dense: each is one more than the last."""
    position, ordinal = stamp
    last_position, last_ordinal = stored
    if position > last_position and ordinal == last_ordinal + 1:
        return True
    if stamp == stored or (position < last_position and ordinal < last_ordinal):
        return False
    if position > last_position and ordinal > last_ordinal:
        raise Stop(f"gap: {ordinal - last_ordinal - 1} events are missing between ordinal {last_ordinal} and {ordinal}")
    raise Stop(f"position {position}, ordinal {ordinal} is of another history than {last_position}, ordinal {last_ordinal}")


TOKEN_FILE = os.environ.get("RUNNEL_PULSAR_TOKEN_FILE")
CA_FILE = os.environ.get("RUNNEL_PULSAR_CA_FILE")


def token():
    """Read again whenever it is asked for: files of tokens are replaced before they expire."""
    with open(TOKEN_FILE) as file:
        return file.read().strip()


def connect(url):
    settings = {"tls_validate_hostname": True}  # with pulsar+ssl://; off by default
    if TOKEN_FILE:
        settings["authentication"] = pulsar.AuthenticationToken(token)
    if CA_FILE:
        settings["tls_trust_certs_file_path"] = CA_FILE
    return pulsar.Client(url, logger=logging.getLogger("pulsar"), **settings)


class Schemas:
    """The topic's schemas by version, as Pulsar's registry has them. They never change."""

    def __init__(self, admin_url, topic):
        self.url = f"{admin_url}/admin/v2/schemas/{topic.removeprefix('persistent://')}/schema/"
        self.tls = ssl.create_default_context(cafile=CA_FILE)  # with https://
        self.versions = {}

    def decode(self, message):
        # Message.schema_version() makes a text of the bytes, which fails from version 128 on.
        version = message._message.int_schema_version()
        if version not in self.versions:
            request = urllib.request.Request(f"{self.url}{version}")
            if TOKEN_FILE:
                request.add_unredirected_header("Authorization", f"Bearer {token()}")
            with urllib.request.urlopen(request, timeout=30, context=self.tls) as answer:
                self.versions[version] = fastavro.parse_schema(json.loads(json.load(answer)["data"]))
        return fastavro.schemaless_reader(io.BytesIO(message.data()), self.versions[version], None)["event"]


def apply(db, schemas, partition, messages):
    """Applies messages of a partition, in order, in one transaction: rows and position, or neither."""
    done, stop = {"applied": 0, "skipped": 0, "unknown": 0}, None
    db.execute("begin immediate")  # waits for another reader of this copy
    try:
        stored = db.execute("select position, ordinal from position where partition = ?", (partition,)).fetchone() or ("", 0)
        for message in messages:
            try:
                stamp = stamp_of(message)
                new = is_new(stored, stamp)
            except Stop as why:
                stop = why  # what came before it is right: keep that
                break
            if not new:
                done["skipped"] += 1
                continue
            handler = HANDLERS.get(message.properties().get("type"))
            if handler:
                handler(db, schemas.decode(message))
                done["applied"] += 1
            else:
                done["unknown"] += 1
            stored = stamp
            db.execute("insert or replace into position values (?, ?, ?, ?)",
                       (partition, *stamp, message.message_id().serialize()))
        for what in ("applied", "unknown"):
            db.execute("insert into counted values (?, ?) on conflict (what) do update set n = n + excluded.n", (what, done[what]))
        db.execute("commit")
    except BaseException:
        db.execute("rollback")
        raise
    say(partition, f"{done['applied']} applied, {done['skipped']} skipped, {done['unknown']} of unknown type, up to ordinal {stored[1]}")
    if stop:
        raise Stop(f"{partition}: {stop}")


def open_reader(client, db, partition):
    """Begins after the stored message. That id only says where to look: what counts is the position."""
    row = db.execute("select message_id, ordinal from position where partition = ?", (partition,)).fetchone()
    say(partition, f"begins after ordinal {row[1] if row else 0}")
    return client.create_reader(partition, pulsar.MessageId.deserialize(row[0]) if row else pulsar.MessageId.earliest,
                                subscription_role_prefix="orders-python")  # who that is, in `runnel schemas plan`


def follow(client, db, schemas, topic, until_idle):
    readers = {p: open_reader(client, db, p) for p in client.get_topic_partitions(topic)}
    while True:
        idle = True
        for partition, reader in readers.items():
            messages = []
            while len(messages) < BATCH and reader.has_message_available():
                messages.append(reader.read_next(ARRIVAL))
            if messages:
                apply(db, schemas, partition, messages)
                idle = False
        if idle and until_idle:
            return
        if idle:
            time.sleep(0.05)


def print_copy(db):
    """Prints each order as a JSON array, by id, and what was counted."""
    for row in db.execute("""select json_array(id, customer_id, status, lines, total, currency, city, paid_by, carrier, tracking, reason)
            from orders order by id"""):
        print(row[0])
    print(db.execute("select json_group_object(what, n) from (select * from counted order by what)").fetchone()[0])


def say(partition, text):
    print(f"{partition.rpartition('/')[2]}: {text}", file=sys.stderr, flush=True)


def open_copy(file):
    db = sqlite3.connect(file, timeout=30, isolation_level=None)
    # No wait for the disk at each commit. Should the machine lose power, the copy may be somewhat older afterwards,
    # and its positions as well: the same events are then read again.
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = normal")
    for table in (ORDERS, POSITIONS, COUNTS):
        db.execute(table)
    return db


def main(arguments):
    until_idle = "--until-idle" in arguments
    arguments = [a for a in arguments if a != "--until-idle"]
    if len(arguments) != 2:
        sys.exit("usage: reader.py COPY TOPIC [--until-idle]")
    copy, topic = arguments
    logging.basicConfig(level=logging.WARNING)  # to stderr; the client's own log goes to stdout
    db = open_copy(copy)
    client = connect(os.environ["RUNNEL_PULSAR_URL"])
    try:
        follow(client, db, Schemas(os.environ["RUNNEL_PULSAR_ADMIN_URL"].rstrip("/"), topic), topic, until_idle)
    except Stop as why:
        sys.exit(f"stopped: {why}")
    except KeyboardInterrupt:
        return
    finally:
        client.close()
    print_copy(db)


if __name__ == "__main__":
    main(sys.argv[1:])
