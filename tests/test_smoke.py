async def test_the_embedded_server_answers(client):
    assert await client.ping()
