"""Limits of the product's growth: constants measured on real servers, a cost model, and a simulation of it."""
