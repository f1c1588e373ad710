"""How parts are planned, done, checked and committed, on one machine or many. Knows no corpus."""
