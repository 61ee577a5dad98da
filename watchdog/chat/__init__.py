"""What is said in chats, decided: what the first message of an incident says now. Pure."""
