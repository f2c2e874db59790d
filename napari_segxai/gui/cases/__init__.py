"""What docks about folders of cases share: where the cases lie, tables of rows, charts, a case in the viewer."""
