package scaling

// Mutant is the protocol with one rule left out: what goes wrong then is why there is the rule.
type Mutant string

// The mutants. The empty one is the protocol.
const (
	NoWait          Mutant = "a new member does not wait until the former ones are drained"
	WaitsForLast    Mutant = "a new member waits for the layout just before its own, and for none earlier"
	TakesFirst      Mutant = "a new member takes the partition, and waits then"
	NoTail          Mutant = "a new member does not read the tail: what is behind the record is new"
	LearnsByTable   Mutant = "a member ends its layout where it learns of the next one, wherever the record lies"
	ForgetsBegin    Mutant = "where a layout begins is not saved before the slot passes it"
	GoesOn          Mutant = "a member goes on behind the record that ends its layout"
	BeginsEarly     Mutant = "a new member publishes from where its slot starts"
	LateSlots       Mutant = "the slots of a layout are made after its record"
	CopiesSlots     Mutant = "slots are copies of others, which wait for no open transaction"
	DropsEarly      Mutant = "the slots of the former layout are dropped with the record"
	DrainedAtRecord Mutant = "a member is drained when it meets the record, whatever is in flight"
	CountsAll       Mutant = "the index counts the rows of all members in one life, and the member's own in the next"
	OtherHash       Mutant = "the filter shares rows out by another hash than that of partitions"
	SharedProducers Mutant = "producers are not exclusive"
	ConfirmsSent    Mutant = "what is sent is confirmed, stored or not"
)

// Mutants are all of them.
var Mutants = []Mutant{
	NoWait, WaitsForLast, TakesFirst, NoTail, LearnsByTable, ForgetsBegin, GoesOn, BeginsEarly, LateSlots, CopiesSlots, DropsEarly,
	DrainedAtRecord, CountsAll, OtherHash, SharedProducers, ConfirmsSent,
}
