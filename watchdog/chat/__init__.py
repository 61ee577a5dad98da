"""What people say in chats: understood, allowed, and decided. Pure: data and time are arguments; `app/chat_desk.py` acts."""
