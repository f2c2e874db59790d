"""What nnU-Net v2 leaves behind when it has trained: a folder per trainer, plans and configuration, a folder in it per fold."""
