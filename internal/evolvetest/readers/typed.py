"""Reads orders with the client's own AvroSchema, and prints what it makes of each event,
once: what a subscription delivers again is known by its position.

    typed.py SCHEMA TOPIC SUBSCRIPTION END

SCHEMA is a file with the topic's schema as it was when the reader was written, or
"record": then classes are used, which cannot express a union; or "names": then it
decodes as the reader of the examples does, and asks for one field of each event by
its name. It ends when it has read as many events as the file END says, once that is
there.
"""

import json
import logging
import os
import sys
import time

import pulsar
from pulsar.schema import AvroSchema, Long, Record, String

FIELDS = {
    "OrderPlaced": ["order_id", "lines", "total", "currency", "ship_to"],
    "OrderPaid": ["order_id", "method", "reference"],
    "OrderShipped": ["order_id", "carrier", "tracking"],
    "OrderCancelled": ["order_id", "reason"],
}


NAMES = {"OrderPaid": "method", "OrderShipped": "tracking"}


class OrderShipped(Record):
    order_id = String(required=True)
    carrier = String(required=True)
    tracking = String()
    shipped_at = Long(required=True)


class order_event(Record):
    event = OrderShipped()


def describe(type, event):
    text = type
    for name in FIELDS[type]:
        value = event[name]
        if name == "lines":
            value = len(value)
        elif name == "total":
            value = int(value.scaleb(2))
        elif name == "ship_to" and value:
            value = value["city"]
        text += "|" + ("null" if value is None else str(value))
    return text


class Warned(logging.Handler):
    """Knows whether the client has decoded with another schema than the message's: all it does then is warn."""

    count = 0

    def emit(self, record):
        self.count += 1


def value(message, type):
    while True:
        before = warned.count
        event = message.value()
        if warned.count == before or type not in FIELDS or schema_name == "record":
            return event
        time.sleep(0.1)  # the schema's version could not be fetched


def made_of(message, type):
    if schema_name == "names":
        return by_name(message, type)
    try:
        event = value(message, type)
        if isinstance(event, Record):
            return f"{event.event.__class__.__name__}"
        return describe(type, event["event"])
    except Exception as e:  # whatever it is, it is printed
        return f"{e.__class__.__name__}: {e}"


def by_name(message, type):
    if type not in NAMES:
        return "passed over"
    event = schemas.decode(message)
    try:
        return str(event[NAMES[type]])
    except KeyError as e:
        return f"KeyError: {e}"


def main(schema, topic, subscription, end):
    global schemas
    if schema == "record":
        schema = AvroSchema(order_event)
    elif schema == "names":
        sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../../examples/readers/python"))
        import reader
        schemas, schema = reader.Schemas(os.environ["RUNNEL_PULSAR_ADMIN_URL"], topic), pulsar.schema.BytesSchema()
    else:
        with open(schema) as file:
            schema = AvroSchema(None, schema_definition=json.load(file))
    client = pulsar.Client(os.environ["RUNNEL_PULSAR_URL"], logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    consumer = client.subscribe(topic, subscription, schema=schema, consumer_type=pulsar.ConsumerType.Failover,
                                initial_position=pulsar.InitialPosition.Earliest)
    read, positions = 0, {}
    while not os.path.exists(end) or read < int(open(end).read()):
        try:
            message = consumer.receive(200)
        except pulsar.Timeout:
            continue
        of = message.properties()
        if of["position"] > positions.get(message.topic_name(), ""):
            read += 1
            positions[message.topic_name()] = of["position"]
            print(of["id"], of["type"], made_of(message, of["type"]))
        consumer.acknowledge(message)
    client.close()


warned = Warned()
logging.getLogger().addHandler(warned)
schema_name = sys.argv[1]
main(*sys.argv[1:])
