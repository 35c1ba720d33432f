// Writes the golden JSON of the reduced model.
// Test tool only: nothing of this is linked into Coracle.
module coracle.test/tools/golden

go 1.24
