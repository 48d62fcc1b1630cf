// Key pairs of clients that sign: the public half is registered, the private half goes to the test.

import { exportJWK, exportPKCS8, generateKeyPair } from 'jose';

// Replaces `key_algorithm` in these registrations by `jwks`; gives PKCS#8 by client ID.
export async function registerKeys(clients) {
  const pems = {};
  for (const client of clients) {
    const { key_algorithm: algorithm } = client;
    delete client.key_algorithm;
    if (algorithm) {
      const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true });
      const key = { ...await exportJWK(publicKey), alg: algorithm, use: 'sig', kid: 'test-key' };
      client.jwks = { keys: [key] };
      pems[client.client_id] = await exportPKCS8(privateKey);
    }
  }
  return pems;
}
