"""The quality gate held against real pictures: what it is shown, how its weights are fitted, how often it is wrong."""
