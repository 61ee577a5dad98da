"""What is said in chats, decided: what people say is understood and allowed, and what the first message of an incident says now.
Pure: data and time are arguments; `app/chat_desk.py` and the outbox act."""
