// CRC-32 as gzip and PNG compute it (polynomial 0xEDB88320, bits reversed).
'use strict';

const TABLE = new Uint32Array(256).map((_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) {
    value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  }
  return value;
});

/** Continue a checksum: crc32(b, crc32(a)) is the checksum of a followed by b. */
function crc32(bytes, before = 0) {
  let crc = ~before;
  for (const byte of bytes) {
    crc = (crc >>> 8) ^ TABLE[(crc ^ byte) & 0xff];
  }
  return ~crc >>> 0;
}

module.exports = { crc32 };

if (require.main === module) {
  const check = crc32(Buffer.from('123456789'));
  console.log(check === 0xcbf43926 ? 'sound' : `wrong: ${check.toString(16)}`);
}
