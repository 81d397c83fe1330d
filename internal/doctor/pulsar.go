package doctor

var pulsarChecks = []Check{}
