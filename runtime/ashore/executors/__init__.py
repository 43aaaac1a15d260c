"""Where attempts of `def` steps run that need a process of their own: warm worker processes, or, in simulations, right here."""
