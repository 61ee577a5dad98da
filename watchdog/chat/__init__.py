"""What is said in chats, decided: what people say is understood and allowed, what the first message of an incident says now, and
what pictures show. Pure: data and time are arguments; `app/chat_desk.py`, the outbox and `app/charts.py` act."""
