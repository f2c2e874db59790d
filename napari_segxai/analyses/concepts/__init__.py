"""What a network has learnt, over a folder of cases."""
