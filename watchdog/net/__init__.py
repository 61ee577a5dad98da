"""HTTP for everybody who asks: one client, one policy, one kind of error; addresses and secrets."""
