"""How far the product grows: constants measured on real servers, a cost model, and a simulation of it."""
