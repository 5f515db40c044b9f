"""What virtualization costs: the same application natively and through LoGV, compared in pairs."""
