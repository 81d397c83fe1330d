package pipeline

import (
	"regexp"
	"strings"
	"testing"

	"github.com/runnel-cdc/runnel/internal/broker"
	"github.com/runnel-cdc/runnel/internal/fault"
	"github.com/runnel-cdc/runnel/internal/position"
	"github.com/runnel-cdc/runnel/internal/wire"
)

// The example of accept_lost shows what it takes: a topic's full name.
func TestExampleOfAcceptLost(t *testing.T) {
	topic := regexp.MustCompile(`accept_lost\('[^']+', '([^']+)'\);$`).FindStringSubmatch(ErrTruncated.Remedy)
	if want := wire.TopicName("tenant/namespace", "topic"); topic == nil || topic[1] != want {
		t.Errorf("%q, want a statement for %s", ErrTruncated.Remedy, want)
	}
}

// What is found is one partition of perhaps several; the remedy, and its statement, are for
// all of the topic.
func TestTruncatedIsOfATopic(t *testing.T) {
	topic := wire.TopicName("shop/runnel", "order")
	saved := position.Stamp{Position: position.Position{Epoch: 1, LSN: 7}, Ordinal: 3}
	err := truncated("shop", broker.Partition{Topic: topic, Index: 2}, position.Stamp{}, saved)
	words, statement, _ := strings.Cut(fault.Find(err).WhatToDo(), "\n")
	if !strings.Contains(words, "all partitions of the topic") || statement != "  SELECT runnel.accept_lost('shop', '"+topic+"');" {
		t.Errorf("%s\n%s", words, statement)
	}
}
