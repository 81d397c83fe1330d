"""Reads orders with the client's own AvroSchema, and prints what it makes of each event.

    typed.py SCHEMA TOPIC SUBSCRIPTION END

SCHEMA is a file with the topic's schema as it was when the reader was written, or
"record": then classes are used, which cannot express a union. It ends when it has
read as many events as the file END says, once that is there.
"""

import json
import logging
import os
import sys

import pulsar
from pulsar.schema import AvroSchema, Long, Record, String

FIELDS = {
    "OrderPlaced": ["order_id", "lines", "total", "currency", "ship_to"],
    "OrderPaid": ["order_id", "method", "reference"],
    "OrderShipped": ["order_id", "carrier", "tracking"],
    "OrderCancelled": ["order_id", "reason"],
}


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


def made_of(message, type):
    try:
        event = message.value()
        if isinstance(event, Record):
            return f"{event.event.__class__.__name__}"
        return describe(type, event["event"])
    except Exception as e:  # whatever it is, it is printed
        return f"{e.__class__.__name__}: {e}"


def main(schema, topic, subscription, end):
    logging.basicConfig(level=logging.ERROR)
    if schema == "record":
        schema = AvroSchema(order_event)
    else:
        with open(schema) as file:
            schema = AvroSchema(None, schema_definition=json.load(file))
    client = pulsar.Client(os.environ["RUNNEL_PULSAR_URL"], logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    consumer = client.subscribe(topic, subscription, schema=schema, consumer_type=pulsar.ConsumerType.Failover,
                                initial_position=pulsar.InitialPosition.Earliest)
    print("subscribed", file=sys.stderr, flush=True)
    read = 0
    while not os.path.exists(end) or read < int(open(end).read()):
        try:
            message = consumer.receive(200)
        except pulsar.Timeout:
            continue
        read += 1
        type = message.properties()["type"]
        print(message.properties()["id"], type, made_of(message, type))
        consumer.acknowledge(message)
    client.close()


main(*sys.argv[1:])
