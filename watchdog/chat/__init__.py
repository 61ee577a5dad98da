"""What is said in chats and what is made of answers: decides, and does nothing."""
