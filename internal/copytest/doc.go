// Package copytest holds the scenarios of local copies: real servers, daemons and
// projections in processes of their own that are killed, and a load that goes on.
//
//	TestFulfilmentKilled     the quickstart's copy equals the orders, though its service is killed again and again
//	TestPoisonedAggregate    one aggregate is parked and tried again, in order, while the others go on
//	TestRebuildUnderLoad     a new version is built from the start of the topic and takes the live one's place
//	TestChainOfThree         services that publish what they were told, from database to database
//
// `make test` plays each of them small; `make copies` plays the whole, which takes
// about a quarter of an hour. Faults are drawn by package torture; here the figures
// are large. There is nothing to import. Start with stage_test.go.
package copytest
