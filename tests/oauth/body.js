// The content of a message, whole.

export async function readBody(request) {
  const chunks = [];
  for await (const chunk of request) {
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export function sendJson(response, status, value, fields = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...fields });
  response.end(JSON.stringify(value));
}
