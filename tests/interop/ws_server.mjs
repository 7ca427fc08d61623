// The server of `ws`, as other programs use it: it echoes, and says on request what it makes of a connection.
//
// Says "listening http://127.0.0.1:PORT". Paths: "/" echoes; "/redirect" goes to "/"; "/refuse" answers 401.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const http = createServer((_, response) => response.writeHead(426).end());
const server = new WebSocketServer({
  noServer: true,
  perMessageDeflate: { threshold: 0 },
  maxPayload: 2 ** 25,
  handleProtocols: (names) => (names.has("chat") ? "chat" : false),
});

http.on("upgrade", (request, socket, head) => {
  if (request.url === "/redirect") {
    socket.end("HTTP/1.1 307 Temporary Redirect\r\nLocation: /\r\nContent-Length: 0\r\n\r\n");
  } else if (request.url === "/refuse") {
    socket.end("HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nno!");
  } else {
    server.handleUpgrade(request, socket, head, (ws) => server.emit("connection", ws, request));
  }
});

server.on("connection", (ws, request) => {
  ws.on("message", (data, isBinary) => {
    const text = isBinary ? "" : data.toString();
    if (text === "close") {
      ws.close(4001, "as you like");
    } else if (text === "terminate") {
      ws.terminate();
    } else if (text === "headers") {
      ws.send(JSON.stringify(request.headers));
    } else {
      ws.send(data, { binary: isBinary });
    }
  });
});

http.listen(0, "127.0.0.1", () => console.log(`listening http://127.0.0.1:${http.address().port}`));
