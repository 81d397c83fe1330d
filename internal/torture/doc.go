// Package torture kills, stops and starves a real pipeline on real servers, and
// judges from what it leaves behind whether every committed event is in its topic
// once, in order, and in the copy.
//
//	seed ─┬▶ workload: writers ─▶ Postgres ─▶ daemon processes ─▶ Pulsar ─▶ copy processes
//	      └▶ faults ────────────────┴─────────────┴─────────────────┴────────────┘
//	                                    │ history: files in a folder
//	                                    ▼
//	                                  Judge
//
// A run has servers of its own, which a fault may kill. Its children are this
// same program in other roles, built with the tag failpoints. Faults fire on
// counts, never on time: at the nth hit of a failpoint, or when the nth handful
// of acknowledgements was taken. One seed draws workload and faults; what the
// machine's scheduler makes of them differs from run to run.
//
// The witnesses are independent of the product: truth rows that commit with the
// events, a slot that only the harness reads, with a parser of its own, the
// payloads as the writers encoded them, and the topic read raw. The judge sees
// the files alone, so a history can be judged again later, by a better judge.
//
// Start with Run in runner.go, then faults.go; for the oracle, History in
// history.go and Judge in judge.go.
package torture
