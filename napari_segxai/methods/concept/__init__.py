"""Methods about concepts, units and whole folders of cases."""
